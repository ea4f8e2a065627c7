"""Find the image files of a folder, and decode one as a person sees it."""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps

from diffstab.errors import DataError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_LEFT_BEHIND = {
    "__macosx",  # archives made on macOS
    "@eadir",  # Synology
    "__pycache__",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "desktop.ini",
}


_DEEP = re.compile(
    ";16[BLN]"
)  # Pillow's raw modes of 16 bits a channel, "RGB;16B" say; "BGR;16" has 16 in all


def is_left_behind(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or the work of a tool and not of the data set's author."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def image_files(folder: Path) -> list[Path]:
    """List the files in a folder and below it, links followed, without what tools leave behind.

    Args:
        folder: Where to look.

    Returns:
        The files, sorted.

    Raises:
        DataError: A link is broken, folders link in a circle, or a folder cannot be read.
    """
    found: list[Path] = []
    _walk(folder, (), found)
    return sorted(found)


def _walk(folder: Path, above: tuple[Path, ...], found: list[Path]) -> None:
    """Add the files of a folder; `above` are the real paths of the folders that lead here."""
    real = folder.resolve()
    if real in above:
        raise DataError(f"{folder.name} links to a folder that holds it", folder, "Remove the link.")
    try:
        children = [child for child in folder.iterdir() if not is_left_behind(child.name)]
    except OSError as error:
        raise DataError(
            f"{folder.name} cannot be read: {error.strerror}", folder, "Give it rights."
        ) from error
    for child in children:
        if child.is_dir():
            _walk(child, (*above, real), found)
        elif child.exists():
            found.append(child)
        else:
            way_out = "Put the file back, or remove the link."
            raise DataError(f"{child.name} is a broken link", f"{child} -> {child.readlink()}", way_out)


def decoded(path: Path, *, mode: Literal["RGB", "L"], size: int | None) -> Pixels:
    """Decode one file as an image viewer on a white page shows it.

    Args:
        path: File of 8 bits per channel.
        mode: "RGB" or "L" (grey levels).
        size: Side in pixels of the square that it is resized to; None keeps its size.

    Returns:
        (H, W, C) uint8.

    Raises:
        DataError: The file is damaged, no image, or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as image:
            bits = _bits_per_channel(image)
            image.load()
            pixels = image if bits > 8 else on_white(ImageOps.exif_transpose(image)).convert(mode)
    except Exception as error:  # Pillow's decoders raise errors of many kinds on damaged files
        raise DataError(
            f"{path.name} is no readable image: {error}", path, "Replace or remove it."
        ) from error
    if bits > 8:
        what = f"{path.name} has more than 8 bits per channel (Pillow mode {image.mode})"
        raise DataError(what, path, "Convert it to 8 bits per channel.")
    if size is not None and pixels.size != (size, size):
        pixels = pixels.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(pixels).reshape(pixels.height, pixels.width, -1)


def on_white(image: Image.Image) -> Image.Image:
    """Lay an image with transparent parts on white; others stay as they are."""
    if not image.has_transparency_data:
        return image
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)


def _bits_per_channel(image: ImageFile.ImageFile) -> int:
    """Tell the depth of the file before it is decoded: Pillow cuts deep colour to 8 bits without a word."""
    if image.mode.startswith(("I", "F")):
        return 16
    if image.format == "JPEG2000":
        return _bits_of_jpeg2000(image)
    arguments = [
        argument
        for tile in image.tile
        for argument in (tile[3] if isinstance(tile[3], tuple) else (tile[3],))
    ]
    if any(isinstance(argument, str) and _DEEP.search(argument) for argument in arguments):
        return 16
    if image.format == "PPM":  # it names the largest value
        return max([8, *(argument.bit_length() for argument in arguments if isinstance(argument, int))])
    return 8


def _bits_of_jpeg2000(image: ImageFile.ImageFile) -> int:
    """Read the depth of the first component: Ssiz of the SIZ segment, ISO/IEC 15444-1, A.5.1."""
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(1 << 16)
    image.fp.seek(position)
    start = head.find(b"\xff\x4f\xff\x51")
    return (head[start + 42] & 0x7F) + 1 if 0 <= start < len(head) - 42 else 8
