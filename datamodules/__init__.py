"""Data sets as LightningDataModules that hold their tensors in memory.

`Digits` comes with scikit-learn and needs no files; `MNIST`, `FashionMNIST` and `CIFAR10` are read from
the folder DIFFSTAB_DATA and downloaded when missing; `ImageFolder` reads any folder of images.
`SphereRegression` draws points on the sphere and a target.
"""

from datamodules.base import ImageDataModule
from datamodules.batches import EpochOrder, TensorBatches
from datamodules.cifar import CIFAR10
from datamodules.digits import Digits
from datamodules.folder import ImageFolder
from datamodules.mnist import MNIST, FashionMNIST
from datamodules.sphere import SphereRegression
from datamodules.splits import Source, Split

__all__ = [
    "CIFAR10",
    "MNIST",
    "Digits",
    "EpochOrder",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "Source",
    "SphereRegression",
    "Split",
    "TensorBatches",
]
