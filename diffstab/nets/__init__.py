"""Fully-connected and small convolutional nets, their training regimes, and the losses they are trained on."""

from diffstab.nets.activations import Activation, softplus_normalisation
from diffstab.nets.centred import CentredOutput
from diffstab.nets.cnn import CNN
from diffstab.nets.ensemble import Ensemble
from diffstab.nets.fcn import FCN
from diffstab.nets.losses import LOSSES, Loss, make_loss
from diffstab.nets.tangent import Tangent, fcn_tangent

__all__ = [
    "CNN",
    "FCN",
    "LOSSES",
    "Activation",
    "CentredOutput",
    "Ensemble",
    "Loss",
    "Tangent",
    "fcn_tangent",
    "make_loss",
    "softplus_normalisation",
]
