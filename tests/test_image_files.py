"""Image files as cameras, notebooks, archives and other programs leave them."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diffstab.errors import DataError
from diffstab.image_files import decoded, image_files, is_left_behind


@pytest.fixture
def half_white():
    """12 x 8 pixels, white on the left half."""
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[:, :6] = 255
    return pixels


def _png(path, pixels, *, depth, colour):
    """Write a PNG by hand: Pillow writes no colour of 16 bits."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


# Where the white half of the picture is shown, by the tables of the EXIF standard.
@pytest.mark.parametrize(
    ("orientation", "side"),
    [
        (1, "left"),
        (2, "right"),
        (3, "right"),
        (4, "left"),
        (5, "top"),
        (6, "top"),
        (7, "bottom"),
        (8, "bottom"),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_picture_is_turned_as_its_camera_says(tmp_path, half_white, orientation, side, suffix):
    image = Image.fromarray(half_white)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    shown = decoded(tmp_path / f"a.{suffix}", mode="L", size=None)[..., 0].astype(float)
    height, width = shown.shape
    halves = {
        "left": shown[:, : width // 2],
        "right": shown[:, width // 2 :],
        "top": shown[: height // 2],
        "bottom": shown[height // 2 :],
    }
    assert max(halves, key=lambda name: halves[name].mean()) == side
    assert (height, width) == ((8, 12) if orientation < 5 else (12, 8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white(tmp_path, mode):
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    colours[:4, :, 3], colours[4:, :, 3] = 0, 255
    image = Image.fromarray(colours, "RGBA")
    if mode == "P":
        image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8), "P")
        image.putpalette(generator.integers(0, 256, 192, dtype=np.uint8).tobytes())
        image.info["transparency"] = bytes([0] * 32 + [255] * 32)
        image.save(tmp_path / "a.png", transparency=image.info["transparency"])
    else:
        image.convert(mode).save(tmp_path / "a.png")
    shown = decoded(tmp_path / "a.png", mode="RGB", size=None)
    assert np.all(shown[:4] == 255)
    assert shown[4:].std() > 20


def test_half_transparent_black_is_grey(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "a.png")
    # 255 (1 - 128 / 255), to one grey level
    assert np.abs(decoded(tmp_path / "a.png", mode="L", size=None).astype(int) - 127).max() <= 1


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_deep_png_is_refused(tmp_path, colour, channels):
    pixels = np.full((4, 5, channels), 0x01FF, dtype=">u2")
    _png(tmp_path / "a.png", pixels, depth=16, colour=colour)
    with pytest.raises(DataError, match=r"a\.png has more than 8 bits per channel"):
        decoded(tmp_path / "a.png", mode="RGB", size=None)


def test_shallow_png_written_in_the_same_way_is_read(tmp_path):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    _png(tmp_path / "a.png", pixels, depth=8, colour=2)
    assert np.array_equal(decoded(tmp_path / "a.png", mode="RGB", size=None), pixels)


def test_deep_pixmap_and_tiff_are_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 65535\n" + bytes(12))
    entries = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 12)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(head.ljust(134, b"\0") + struct.pack("<3H", 16, 16, 16) + bytes(12))
    for name in ("a.ppm", "a.tif"):
        with pytest.raises(DataError, match="has more than 8 bits per channel"):
            decoded(tmp_path / name, mode="RGB", size=None)


def test_deep_jpeg2000_is_refused(tmp_path, half_white):
    pytest.importorskip("PIL._imaging").jpeg2k_encoder  # noqa: B018 - Pillow may be built without it
    Image.fromarray(half_white).save(tmp_path / "a.jp2")
    assert np.array_equal(decoded(tmp_path / "a.jp2", mode="RGB", size=None), half_white)
    content = bytearray((tmp_path / "a.jp2").read_bytes())
    content[content.index(b"\xff\x4f\xff\x51") + 42] = 15  # Ssiz: depth minus one
    (tmp_path / "a.jp2").write_bytes(content)
    with pytest.raises(DataError, match="has more than 8 bits per channel"):
        decoded(tmp_path / "a.jp2", mode="RGB", size=None)


def test_bitmap_of_16_bits_in_all_is_read(tmp_path):
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 0, 4, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + head + b"\xff\x7f\x00\x00")
    assert decoded(tmp_path / "a.bmp", mode="L", size=None)[0, :, 0].tolist() == [255, 0]


def test_what_tools_leave_behind_is_passed_over(tmp_path):
    kept = ["a.png", "more/b.png", "more/deep/c.png"]
    left = [".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", "__MACOSX/._a.png", "@eaDir/a.png/thumb.jpg"]
    left += [".ipynb_checkpoints/a-checkpoint.png", "more/.ipynb_checkpoints/b.png"]
    for name in (*kept, *left):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)] == kept


def test_links_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"")
    folder = tmp_path / "class"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "b.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    assert [path.name for path in image_files(folder)] == ["b.png", "a.png"]


def test_a_broken_link_is_named(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"a\.png is a broken link .*gone\.png"):
        image_files(tmp_path)


def test_folders_that_link_in_a_circle_are_named(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "up").symlink_to(tmp_path)
    with pytest.raises(DataError, match="up links to a folder that holds it"):
        image_files(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pathlib.Path.iterdir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Denied"))
    )
    with pytest.raises(DataError, match="cannot be read: Denied"):
        image_files(tmp_path)


@pytest.mark.parametrize("name", ["__MACOSX", "Thumbs.db", "$RECYCLE.BIN", ".git", "@eaDir"])
def test_left_behind(name):
    assert is_left_behind(name)


@pytest.mark.parametrize("name", ["macos", "thumbs", "a.png", "@home", "_a.png"])
def test_not_left_behind(name):
    assert not is_left_behind(name)
