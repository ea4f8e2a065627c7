"""Data sets as LightningDataModules that hold their tensors in memory.

`Digits` comes with scikit-learn and needs no files; `MNIST`, `FashionMNIST` and `CIFAR10` are read from
the folder DIFFSTAB_DATA and downloaded when missing; `ImageFolder` reads any folder of images.
`SphereRegression` draws points on the sphere and a target, `TeacherNetwork` Gaussian points and a network,
`ComposedTeacher` a network through few numbers;
`CompleteBipartite`, `OneHotClasses` and `ScalarFunction` are small problems with known sparsest networks.
`RandomHierarchy` and `ScaleDetection` are tasks of which theory says what a net needs to learn them.
"""

from datamodules.base import ImageDataModule
from datamodules.batches import EpochOrder, TensorBatches
from datamodules.cifar import CIFAR10
from datamodules.digits import Digits
from datamodules.folder import ImageFolder
from datamodules.hierarchy import RandomHierarchy
from datamodules.mnist import MNIST, FashionMNIST
from datamodules.regression import RegressionDataModule
from datamodules.scale_detection import ScaleDetection
from datamodules.sphere import SphereRegression
from datamodules.splits import Source, Split
from datamodules.teacher import ComposedTeacher, TeacherNetwork
from datamodules.toys import CompleteBipartite, OneHotClasses, ScalarFunction

__all__ = [
    "CIFAR10",
    "MNIST",
    "CompleteBipartite",
    "ComposedTeacher",
    "Digits",
    "EpochOrder",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "OneHotClasses",
    "RandomHierarchy",
    "RegressionDataModule",
    "ScalarFunction",
    "ScaleDetection",
    "Source",
    "SphereRegression",
    "Split",
    "TeacherNetwork",
    "TensorBatches",
]
