"""Images from wherever they are: a folder, a data module, a loader, a function that makes one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from diffstab.errors import ArgumentError, DataError
from diffstab.image_files import decoded, image_files, is_left_behind
from diffstab.measuring.images import UNKNOWN, ImageSet
from diffstab.nets.factories import factory_at

_KINDS = (
    "a folder of images, a data module (class_path and init_args), or package.module:function of a DataLoader"
)


def open_data(
    spec: Any, *, size: int | None = None, images: int | None = None, grey: bool = False
) -> ImageSet:
    """Return the images that a description, or an object, stands for.

    Args:
        spec: A folder: the images in it, or in one subfolder per class, in alphabetical order (subfolders named by
            whole numbers are the numbers of their classes). The class path of a data module, alone or as a mapping with
            "class_path" and "init_args": its test images. `package.module:name` of a data set, data module, loader, or
            a function that makes one. Or such an object itself; a tensor (n, C, H, W).
        size: Side in pixels of the square that images are resized and cut to; needed where they differ in size.
        images: Most images that are read of a loader that cannot be asked for an image by its number.
        grey: Whether colours are turned into grey levels, one channel, for models of such.

    Raises:
        ArgumentError: The description fits nothing.
        DataError: The folder is missing or holds no image.
    """
    found = _opened(spec, images)
    return replace(found, size=found.size if size is None else size, grey=grey or found.grey)


def _opened(spec: Any, images: int | None) -> ImageSet:
    if isinstance(spec, ImageSet):
        return spec
    if isinstance(spec, Mapping):
        return _module(_made(spec), str(spec.get("class_path", "")))
    if isinstance(spec, str | Path):
        return _named(spec, images)
    return _object(spec, type(spec).__name__, images)


def _named(spec: str | Path, images: int | None) -> ImageSet:
    """Return the images of a folder or of an importable name; a folder comes first."""
    if Path(spec).expanduser().is_dir():
        return folder_images(spec)
    module, colon, name = str(spec).partition(":")
    if not colon:
        module, _, name = str(spec).rpartition(".")
    if not module or not name or "/" in str(spec):
        raise ArgumentError("data", f"be {_KINDS}", repr(str(spec)), "There is no such folder.")
    found = factory_at(f"{module}:{name}", argument="data")
    return _object(_made({"class_path": found}) if isinstance(found, type) else found, name, images)


def _made(spec: Mapping[str, Any]) -> Any:
    """Return an object of a class; a data module of this project with pixels and labels as they are."""
    unknown = sorted(set(spec) - {"class_path", "init_args"})
    if unknown or "class_path" not in spec:
        raise ArgumentError("data", "have the keys class_path and, optionally, init_args", sorted(spec))
    cls = spec["class_path"]
    if isinstance(cls, str):
        module, _, name = cls.replace(":", ".").rpartition(".")
        cls = factory_at(f"{module}:{name}", argument="data")
    options = dict(spec.get("init_args") or {})
    if any(base.__name__ == "ImageDataModule" for base in getattr(cls, "__mro__", ())):
        options = {"labels": "classes", "normalisation": "none", **options}
    try:
        return cls(**options)
    except TypeError as error:
        raise ArgumentError("data.init_args", f"be those of {cls.__name__}", error) from error


def _object(found: Any, name: str, images: int | None) -> ImageSet:
    """Return the images of a tensor, data set, data module, loader, or of a function that makes one."""
    if isinstance(found, ImageSet):
        return found
    if isinstance(found, Tensor):
        return ImageSet(found, name="tensor")
    if hasattr(found, "test_dataloader"):
        return _module(found, name)
    if isinstance(found, DataLoader) and not isinstance(found.dataset, IterableDataset):
        return _data_set(found.dataset, name)
    if hasattr(found, "__getitem__") and hasattr(found, "__len__"):
        return _data_set(found, name)
    if isinstance(found, Iterable):
        return _collected(found, name, images)
    if callable(found):
        return _object(_called(found, name), name, images)
    raise ArgumentError("data", f"be {_KINDS}", type(found).__name__)


def _called(function: Callable[[], Any], name: str) -> Any:
    try:
        made = function()
    except TypeError as error:
        raise ArgumentError("data", "be a function without arguments", f"{name} ({error})") from error
    if callable(made) and not hasattr(made, "__len__"):
        raise ArgumentError("data", "return a loader or a data set", f"{name} gives {type(made).__name__}")
    return made


def _module(module: Any, name: str) -> ImageSet:
    """Return the test images of a data module."""
    if not hasattr(module, "test_dataloader"):
        return _object(module, name, None)
    module.prepare_data()
    module.setup("test")
    name = str(getattr(module, "name", type(module).__name__))
    if isinstance(getattr(module, "test_images", None), Tensor):
        labels = getattr(module, "test_classes", None)
        known = labels.long() if isinstance(labels, Tensor) else None
        names = tuple(getattr(module, "class_names", ())) if known is not None else ()
        return ImageSet(module.test_images, name=name, labels=known, class_names=names)
    return replace(_object(module.test_dataloader(), name, None), name=name)


def _data_set(items: Any, name: str) -> ImageSet:
    """Return the images of a data set, with the labels and files that torchvision's data sets tell beforehand."""
    targets, files = getattr(items, "targets", None), getattr(items, "samples", None)
    known = None
    if isinstance(targets, Tensor | list) and len(targets) == len(items):
        numbers = torch.as_tensor(targets)
        known = numbers.long() if numbers.ndim == 1 and not numbers.is_floating_point() else None
    is_listed = isinstance(files, list) and len(files) == len(items) and isinstance(files[0], tuple)
    paths = [str(file[0]) for file in files] if files and is_listed else []
    names = tuple(map(str, getattr(items, "classes", ())))
    return ImageSet(items, name=name, labels=known, class_names=names, paths=paths)


def _collected(batches: Iterable[Any], name: str, images: int | None) -> ImageSet:
    """Return the first images of a loader that only runs from its beginning; they are kept in memory."""
    if images is None:
        way_out = "They are kept in memory, as this loader cannot be asked for an image by its number."
        raise ArgumentError(
            "images", "be given for a loader that only runs from its beginning", None, way_out
        )
    with torch.random.fork_rng(
        devices=[]
    ):  # a loader without a generator of its own draws from the global one
        rows = itertools.chain.from_iterable(map(_rows, batches))
        return ImageSet(list(itertools.islice(rows, images)), name=name)


def _rows(batch: Any) -> list[Any]:
    """Return the items of a batch."""
    if isinstance(batch, Mapping):
        return [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]
    if isinstance(batch, tuple | list):
        return list(zip(*batch, strict=True))
    return list(batch)


class _Files:
    """Image files by number, decoded when asked for."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Any:
        return decoded(self._paths[number], mode="RGB", size=None)


def folder_images(folder: str | Path) -> ImageSet:
    """Return the image files of a folder, or of one subfolder per class; other files are passed over.

    Images are read in colour. Those of a class lie in its subfolder or below it.

    Raises:
        DataError: There is no image, a class has none, or images lie beside the folders of classes.
    """
    folder = Path(folder).expanduser()
    endings = set(Image.registered_extensions())
    files = [file for file in image_files(folder) if file.suffix.lower() in endings]
    loose = [file for file in files if file.parent == folder]
    if not files:
        raise DataError(
            "The folder holds no image", folder, f"Endings of images: {', '.join(sorted(endings))}."
        )
    paths = [str(file) for file in files]
    if loose:
        if len(loose) < len(files):
            what = f"{loose[0].name} lies beside folders with images"
            raise DataError(what, folder, "Put all images into folders of classes, or none.")
        return ImageSet(_Files(files), name=_name(folder), paths=paths)
    names = _class_names(folder)
    label = {name: int(name) if _are_numbers(names) else place for place, name in enumerate(names)}
    known = torch.tensor([label[file.relative_to(folder).parts[0]] for file in files])
    shown = () if _are_numbers(names) else tuple(names)
    return ImageSet(_Files(files), name=_name(folder), labels=known, class_names=shown, paths=paths)


def _name(folder: Path) -> str:
    """Return the name of a folder, with that of the one above where it names a part alone."""
    parts = folder.resolve().parts
    return "/".join(parts[-2:] if parts[-1].lower() in ("train", "val", "validation", "test") else parts[-1:])


def _class_names(folder: Path) -> list[str]:
    return sorted(
        child.name for child in folder.iterdir() if child.is_dir() and not is_left_behind(child.name)
    )


def _are_numbers(names: list[str]) -> bool:
    return all(name.isdecimal() for name in names)


def has_labels(images: ImageSet) -> bool:
    """Whether any label is known before images are read."""
    return images.labels is not None and bool((images.labels != UNKNOWN).any())
