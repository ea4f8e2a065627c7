"""Nets: fully-connected, convolutional and residual ones, anybody's, their regimes, losses and layers."""

from diffstab.nets.activations import Activation, softplus_normalisation
from diffstab.nets.centred import CentredOutput
from diffstab.nets.cnn import CNN
from diffstab.nets.ensemble import Ensemble
from diffstab.nets.fcn import FCN
from diffstab.nets.layers import LayerInfo, default_layers, layer_table, matching_layers
from diffstab.nets.lenet import LeNet
from diffstab.nets.loading import LoadedModel, load_model
from diffstab.nets.losses import LOSSES, Loss, make_loss
from diffstab.nets.model_options import ModelChoice
from diffstab.nets.outputs import OutputPart, output_part
from diffstab.nets.preprocessing import Preprocessing
from diffstab.nets.resnet import ResNet
from diffstab.nets.tangent import Tangent, fcn_tangent
from diffstab.nets.tree import TreeNet
from diffstab.nets.vgg import VGG
from diffstab.nets.weights import weights_hash

__all__ = [
    "CNN",
    "FCN",
    "LOSSES",
    "VGG",
    "Activation",
    "CentredOutput",
    "Ensemble",
    "LayerInfo",
    "LeNet",
    "LoadedModel",
    "Loss",
    "ModelChoice",
    "OutputPart",
    "Preprocessing",
    "ResNet",
    "Tangent",
    "TreeNet",
    "default_layers",
    "fcn_tangent",
    "layer_table",
    "load_model",
    "make_loss",
    "matching_layers",
    "output_part",
    "softplus_normalisation",
    "weights_hash",
]
