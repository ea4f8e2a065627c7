"""Folders of images, written here."""

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder
from datamodules.folder import _decoded_files
from diffstab.errors import ArgumentError, DataError


@pytest.fixture
def folder(tmp_path, generator):
    """Classes bear and ant, 6 training and 3 test images each, 8 x 10 pixels, as PNG."""
    for part, count in (("train", 6), ("test", 3)):
        for name in ("bear", "ant"):
            (tmp_path / "zoo" / part / name).mkdir(parents=True)
            pixels = torch.randint(0, 256, (count, 8, 10, 3), dtype=torch.uint8, generator=generator)
            for index in range(count):
                path = tmp_path / "zoo" / part / name / f"{index}.png"
                Image.fromarray(pixels[index].numpy()).save(path)
    return tmp_path / "zoo"


def _ready(folder, **kwargs):
    module = ImageFolder(root=str(folder.parent), folder=folder.name, **kwargs)
    module.prepare_data()
    module.setup()
    return module


def test_reads_what_was_written(folder):
    module = _ready(folder, normalisation="none", labels="classes")
    assert module.name == "zoo"
    assert module.class_names == ("ant", "bear")
    assert module.train_images.shape == (12, 3, 8, 10)
    assert module.train_images.is_contiguous()
    read = {(int(k), tuple(x.flatten().tolist())) for x, k in zip(module.train_images, module.train_labels)}
    written = set()
    for label, name in enumerate(("ant", "bear")):
        for path in (folder / "train" / name).iterdir():
            pixels = torch.tensor(np.array(Image.open(path))).permute(2, 0, 1).float() / 255
            written.add((label, tuple(pixels.flatten().tolist())))
    assert read == written


def test_convention_classes_are_alphabetical_and_the_first_is_even(folder):
    module = _ready(folder)
    assert torch.equal(module.train_labels, (-1.0) ** module.train_classes)
    assert module.class_names == ("even", "odd")


def test_grey_levels_and_size(folder):
    module = _ready(folder, channels=1, size=6)
    assert module.image_shape == (1, 6, 6)
    norms = module.train_images.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 6.0))


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "gif", "webp"])
def test_any_format_of_pillow_is_read(folder, suffix):
    path = folder / "train" / "ant" / "0.png"
    Image.open(path).save(path.with_suffix(f".{suffix}"))
    path.unlink()
    assert len(_ready(folder).train_images) == 12


def test_grey_files_are_read_as_three_equal_channels(folder):
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    images = _ready(folder, normalisation="none").train_images
    assert torch.equal(images[:, 0], images[:, 2])


def test_hidden_files_are_passed_over_and_subfolders_read(folder):
    (folder / "train" / "ant" / ".DS_Store").write_text("x")
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "ant" / "more").mkdir()
    (folder / "train" / "ant" / "0.png").rename(folder / "train" / "ant" / "more" / "0.png")
    assert len(_ready(folder).train_images) == 12


def test_folders_of_tools_are_no_classes(folder):
    for part in ("train", "test"):
        (folder / part / "__MACOSX").mkdir()
        (folder / part / "__MACOSX" / "._0.png").write_bytes(b"x")
    assert _ready(folder, labels="classes").class_names == ("ant", "bear")


def test_splits_of_different_size_need_size(folder):
    for path in (folder / "test").rglob("*.png"):
        Image.open(path).resize((9, 9)).save(path)
    with pytest.raises(ArgumentError, match=r"size must be given when the images differ in size"):
        _ready(folder)


def test_differing_sizes_need_size(folder):
    Image.new("RGB", (9, 9)).save(folder / "test" / "bear" / "0.png")
    with pytest.raises(ArgumentError, match=r"size must be given when the images differ in size.*\(9, 9\)"):
        _ready(folder)
    assert _ready(folder, size=8).image_shape == (3, 8, 8)


def test_decoded_once_until_a_file_changes(folder):
    first = _ready(folder, normalisation="none")
    hits = _decoded_files.cache_info().hits
    again = _ready(folder, normalisation="none", seed=1)
    assert _decoded_files.cache_info().hits == hits + 1
    again.train_images.zero_()
    assert torch.equal(_ready(folder, normalisation="none").train_images, first.train_images)
    for path in folder.rglob("*.png"):
        Image.new("RGB", (10, 8), (255, 0, 0)).save(path)
    assert torch.equal(_ready(folder, normalisation="none").train_images[:, 0], torch.ones(12, 8, 10))


@pytest.mark.parametrize("damage", [lambda x: x[:-40], lambda x: x[:15], lambda _: b"", lambda _: b"hello"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_damaged_image_is_named(folder, damage, suffix):
    path = folder / "test" / "bear" / f"1.{suffix}"
    Image.open(folder / "test" / "bear" / "1.png").resize((64, 64)).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"1\.{suffix} is no readable image: .*bear.*Replace or remove"):
        _ready(folder, size=8)


def test_deep_images_are_refused(folder):
    Image.fromarray(np.full((8, 10), 40000, dtype=np.uint16)).save(folder / "train" / "ant" / "0.png")
    with pytest.raises(DataError, match=r"0\.png has more than 8 bits per channel"):
        _ready(folder)


def test_missing_part_is_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"The folder train is missing .*nowhere.*train/<class>/"):
        _ready(tmp_path / "nowhere")
    (folder / "test").rename(folder / "other")
    with pytest.raises(DataError, match="The folder test is missing"):
        _ready(folder)


def test_empty_part_and_empty_class_are_named(folder, tmp_path):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="The folder train holds no class folders"):
        _ready(tmp_path / "empty")
    for path in (folder / "test" / "ant").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="The class ant holds no images"):
        _ready(folder)


def test_classes_must_agree(folder):
    (folder / "test" / "ant").rename(folder / "test" / "cat")
    with pytest.raises(DataError, match="different classes: ant, cat on one side only"):
        _ready(folder)


def test_channels_are_checked():
    with pytest.raises(ArgumentError, match=r"channels must be 1 \(grey\) or 3 \(RGB\), got 4"):
        ImageFolder(folder="zoo", channels=4)
