"""Sparsity of the neurons of a layer: atoms, effective numbers, angles, pictures."""

from diffstab.sparsity.pictures import neuron_picture
from diffstab.sparsity.report import SparsityReport, sparsity_report, sparsity_to_record

__all__ = ["SparsityReport", "neuron_picture", "sparsity_report", "sparsity_to_record"]
