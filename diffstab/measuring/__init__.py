"""Measure any model on any images: D, G and R of its output and of its layers."""

from diffstab.measuring.data import open_data

__all__ = ["open_data"]
