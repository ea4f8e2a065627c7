"""Images from folders, data modules, data sets and loaders, with their numbers and labels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from diffstab.errors import ArgumentError, DataError, DiffstabError
from diffstab.measuring.data import open_data
from diffstab.measuring.images import Gate, ImageBatch, read_batch


def write_images(folder, names, *, size=(6, 6)):
    """Grey images, the k-th of value 10 k."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), 10 * number, np.uint8)).save(path)


@pytest.fixture
def classes(tmp_path):
    """A folder of two classes, with three images and one."""
    write_images(tmp_path, ["cat/b.png", "cat/a.png", "cat/deep/c.png", "dog/d.png"])
    return tmp_path


def test_a_folder_of_classes_has_their_order_labels_and_files(classes):
    images = open_data(classes)
    assert images.class_names == ("cat", "dog")
    rows = [images.read(number) for number in range(len(images))]
    assert [row.path.rsplit("/", 1)[1] for row in rows] == ["a.png", "b.png", "c.png", "d.png"]
    assert [row.label for row in rows] == [0, 0, 0, 1]
    assert [row.number for row in rows] == [0, 1, 2, 3]
    # b was written first, as black, then a as 10, c as 20, d as 30.
    assert [round(float(row.image.mean() * 255)) for row in rows] == [10, 0, 20, 30]
    assert rows[0].image.shape == (3, 6, 6)
    assert rows[0].image.dtype == torch.float32


def test_a_folder_without_classes_has_no_labels_and_passes_other_files_over(tmp_path):
    write_images(tmp_path, ["a.png", "b.jpg"])
    (tmp_path / "readme.txt").write_text("words")
    images = open_data(str(tmp_path))
    assert [images.read(number).label for number in range(2)] == [-1, -1]


def test_folders_named_by_numbers_are_the_numbers_of_their_classes(tmp_path):
    write_images(tmp_path, ["7/a.png", "12/b.png"])
    assert sorted(open_data(tmp_path).labels.tolist()) == [7, 12]


def test_classes_count_in_a_given_order(classes):
    images = open_data(classes).with_classes(["dog", "fish", "cat"])
    assert images.labels.tolist() == [2, 2, 2, 0]
    with pytest.raises(ArgumentError, match=r"classes must name every class of the data, got dog\."):
        open_data(classes).with_classes(["cat"])


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a.txt"], "The folder holds no image"),
        (["loose.png", "cat/a.png"], r"loose\.png lies beside folders with images"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_refused(tmp_path, names, match):
    write_images(tmp_path, [name for name in names if name.endswith("png")])
    with pytest.raises(DataError, match=match):
        open_data(tmp_path)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.contract)])
def test_images_of_several_sizes_ask_for_one(tmp_path, workers):
    write_images(tmp_path, ["a.png"])
    write_images(tmp_path, ["b.png"], size=(8, 12))
    numbers = torch.arange(2)
    with pytest.raises(DiffstabError, match="size must be given when images differ in size"):
        list(map(read_batch, open_data(tmp_path).loader(numbers, batch_size=2, workers=workers)))
    (batch,) = open_data(tmp_path, size=5).loader(numbers, batch_size=2, workers=workers)
    assert batch.images.shape == (2, 3, 5, 5)


def test_a_resized_image_is_the_middle_of_its_longer_side():
    ramp = torch.linspace(0, 1, 21).expand(1, 7, 21)
    middle = open_data(ramp.expand(2, -1, -1, -1), size=7).read(0).image
    torch.testing.assert_close(middle, ramp[:, :, 7:14])


def test_a_damaged_image_is_named(tmp_path):
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DiffstabError, match=r"b\.png is no readable image"):
        list(map(read_batch, open_data(tmp_path).loader(torch.arange(2), batch_size=2)))


def test_a_data_module_of_the_project_serves_pixels_and_classes():
    spec = {"class_path": "datamodules.Digits", "init_args": {"n_test": 20}}
    images = open_data(spec)
    assert len(images) == 20
    assert images.name == "digits"
    row = images.read(3)
    assert 0 <= float(row.image.min()) <= float(row.image.max()) <= 1
    assert row.label == int(images.labels[3])
    assert set(images.labels.tolist()) <= set(range(10))
    assert len(open_data("datamodules.Digits")) > 100


def test_pixels_beyond_one_are_refused_with_the_way_out():
    images = open_data(TensorDataset(torch.full((2, 1, 4, 4), 2.0), torch.zeros(2)))
    with pytest.raises(
        ArgumentError, match=r"floating in \[0, 1\], got torch.float32 from 2 to 2 .*preprocessing"
    ):
        images.read(0)


@pytest.mark.parametrize("kind", ["tensor", "loader", "dictionary", "pillow"])
def test_data_sets_of_many_kinds_give_the_same_images(kind):
    pixels = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(5)
    sets = {
        "tensor": TensorDataset(pixels, labels),
        "loader": DataLoader(TensorDataset(pixels.float() / 255, labels), batch_size=2, shuffle=True),
        "dictionary": [{"image": x, "label": int(y)} for x, y in zip(pixels, labels)],
        "pillow": [(Image.fromarray(x.permute(1, 2, 0).numpy()), int(y)) for x, y in zip(pixels, labels)],
    }
    images = open_data(sets[kind])
    rows = [images.read(number) for number in range(5)]
    torch.testing.assert_close(torch.stack([row.image for row in rows]), pixels.float() / 255)
    assert [row.label for row in rows] == [0, 1, 2, 3, 4]


class _Stream(IterableDataset):
    def __iter__(self):
        return iter((torch.full((1, 4, 4), number / 10), number) for number in range(10))


def test_a_loader_that_only_runs_from_its_beginning_needs_a_number_of_images():
    loader = DataLoader(_Stream(), batch_size=4)
    with pytest.raises(ArgumentError, match="images must be given for a loader that only runs"):
        open_data(loader)
    images = open_data(loader, images=6)
    assert [images.read(number).label for number in range(6)] == list(range(6))


def test_a_function_by_its_import_path_makes_the_data(tmp_path, monkeypatch):
    source = "import torch\ndef make():\n    return [(torch.zeros(1, 4, 4), 3)] * 4\nnothing = None\n"
    (tmp_path / "my_loader_of_a_test.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    images = open_data("my_loader_of_a_test:make")
    assert (len(images), images.read(1).label) == (4, 3)
    for spec in (
        "my_loader_of_a_test:no",
        "no_such_module:make",
        "no/such/folder",
        "my_loader_of_a_test:nothing",
    ):
        with pytest.raises(ArgumentError, match=r"data must (be|name)"):
            open_data(spec)


def test_a_random_order_is_even_over_the_classes_and_nested():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    images = open_data(TensorDataset(torch.zeros(100, 1, 3, 3), labels))
    images = type(images)(images.items, "made", labels=labels)
    order = images.order(0)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.bincount(labels[order[:30]]).tolist() == [10, 10, 10]
    assert torch.bincount(labels[order[:80]]).tolist() == [30, 30, 20]
    assert not torch.equal(order, images.order(1))
    assert torch.equal(order, images.order(0))


def test_a_closed_gate_lets_no_further_image_through():
    gate = Gate()
    images = open_data(torch.zeros(10, 1, 3, 3))
    seen = []
    for batch in images.loader(torch.arange(10), batch_size=2, gate=gate):
        seen += batch.numbers.tolist()
        gate.is_open = len(seen) < 4
    assert seen == [0, 1, 2, 3]


def test_targets_that_are_no_classes_count_as_none():
    targets = [torch.tensor(2), np.int64(1), -1, 0.5, torch.zeros(2), None]
    images = open_data([(torch.zeros(1, 3, 3), target) for target in targets])
    assert [images.read(number).label for number in range(6)] == [2, 1, -1, -1, -1, -1]


def test_a_batch_moves_its_images_alone():
    batch = ImageBatch([open_data(torch.zeros(2, 1, 3, 3)).read(number) for number in range(2)])
    moved = batch.to("meta")
    assert moved.images.device.type == "meta"
    assert moved.numbers.device.type == "cpu"
