"""MNIST and Fashion-MNIST from made-up files, downloaded from a server on this machine."""

import gzip
import hashlib
import struct

import pytest
import torch
import torchvision

from datamodules import MNIST, FashionMNIST
from datamodules.mnist import read_idx
from diffstab.errors import ArgumentError, DataError

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def _idx(values):
    return (
        struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape) + values.numpy().tobytes()
    )


@pytest.fixture
def contents(generator):
    """The bytes of the four files: 40 training and 20 test images."""
    made = {}
    for part, count in (("train", 40), ("t10k", 20)):
        images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
        made[f"{part}-images-idx3-ubyte"] = _idx(images)
        made[f"{part}-labels-idx1-ubyte"] = _idx((torch.arange(count) % 10).to(torch.uint8))
    return made


@pytest.fixture
def placed(tmp_path, contents):
    """A root folder with the files in place, and their folder."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return tmp_path, folder


def _ready(module):
    module.prepare_data()
    module.setup()
    return module


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_reads_what_was_written(placed, contents, zipped):
    root, folder = placed
    if zipped:
        for name, content in contents.items():
            (folder / name).unlink()
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    module = _ready(MNIST(root=str(root), normalisation="none", labels="classes"))
    assert module.name == "mnist"
    assert module.train_images.shape == (40, 1, 28, 28)
    assert module.test_images.shape == (20, 1, 28, 28)
    written = torch.frombuffer(bytearray(contents[FILES[0]][16:]), dtype=torch.uint8).view(40, 784)
    labels = torch.frombuffer(bytearray(contents[FILES[1]][8:]), dtype=torch.uint8)
    rows = torch.cat([written.float() / 255, labels[:, None]], 1)
    read = torch.cat([module.train_images.flatten(1), module.train_labels[:, None]], 1)
    assert sorted(read.tolist()) == sorted(rows.tolist())


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("dotted", [False, True], ids=["dash", "dot"])
@pytest.mark.parametrize("nested", [False, True], ids=["beside", "in a folder of its name"])
def test_files_are_found_as_archives_are_unpacked(placed, contents, zipped, dotted, nested, monkeypatch):
    root, folder = placed
    for name, content in contents.items():
        (folder / name).unlink()
        given = name.replace("-idx", ".idx") if dotted else name
        place = folder / given if nested else folder
        place.mkdir(exist_ok=True)
        place /= f"{given}.gz" if zipped else given
        place.write_bytes(gzip.compress(content) if zipped else content)
    monkeypatch.setattr(MNIST, "torchvision_class", lambda _: pytest.fail("downloaded"))
    assert len(_ready(MNIST(root=str(root))).train_images) == 40


def test_images_of_two_sizes_need_size(placed):
    root, folder = placed
    (folder / FILES[0]).write_bytes(_idx(torch.arange(40960).view(40, 32, 32).to(torch.uint8)))
    with pytest.raises(ArgumentError, match=r"size must be given .*\(32, 32\) \(training\) and \(28, 28\)"):
        _ready(MNIST(root=str(root)))
    assert _ready(MNIST(root=str(root), size=28)).image_shape == (1, 28, 28)


def test_fashion_mnist_has_its_own_folder_and_names(placed):
    root, folder = placed
    (root / "FashionMNIST").mkdir()
    folder.rename(root / "FashionMNIST" / "raw")
    module = _ready(FashionMNIST(root=str(root), labels="classes"))
    assert module.name == "fashion_mnist"
    assert module.class_names[9] == "ankle boot"
    assert module.n_classes == 10


def test_missing_file_is_named(placed):
    root, folder = placed
    (folder / FILES[3]).unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is missing .*prepare_data\(\)"):
        MNIST(root=str(root)).setup()


@pytest.mark.parametrize("keep", [-1, 20])
def test_truncated_file_is_refused(placed, keep):
    root, folder = placed
    content = (folder / FILES[0]).read_bytes()
    (folder / FILES[0]).write_bytes(content[:keep])
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte has \d+ bytes instead of 31376 .*Delete the file"
    ):
        _ready(MNIST(root=str(root)))


def test_file_with_bytes_after_its_end_is_refused(placed):
    root, folder = placed
    with (folder / FILES[1]).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="has 49 bytes instead of 48"):
        _ready(MNIST(root=str(root)))


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not found</html>", bytes((0, 0, 8, 3)), bytes((0, 0, 13, 3)) + bytes(12)],
    ids=["empty", "html", "header only", "floats"],
)
def test_wrong_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match="images is no IDX file of unsigned bytes in 3 dimensions"):
        read_idx(path, dimensions=3)


@pytest.mark.parametrize("damage", [lambda x: x[:-9], lambda x: x[:20] + b"????" + x[24:], lambda _: b"x"])
def test_damaged_gzip_is_refused(tmp_path, contents, damage):
    (tmp_path / "labels.gz").write_bytes(damage(gzip.compress(contents[FILES[0]])))
    with pytest.raises(DataError, match=r"labels\.gz is no complete gzip file"):
        read_idx(tmp_path / "labels", dimensions=3)


def test_different_numbers_of_images_and_labels_are_refused(placed):
    root, folder = placed
    (folder / FILES[1]).write_bytes(_idx(torch.zeros(39, dtype=torch.uint8)))
    with pytest.raises(DataError, match="mnist has 40 train images but 39 labels"):
        _ready(MNIST(root=str(root)))


def test_labels_out_of_range_are_refused(placed):
    root, folder = placed
    (folder / FILES[3]).write_bytes(_idx(torch.full((20,), 10, dtype=torch.uint8)))
    with pytest.raises(DataError, match="mnist needs t10k labels from 0 to 9"):
        _ready(MNIST(root=str(root)))


class _LocalMNIST(MNIST):
    """Downloads from an address of this machine."""

    def __init__(self, address, checksums, **kwargs):
        super().__init__(**kwargs)
        self.served = {"mirrors": [address], "resources": checksums}

    def torchvision_class(self):
        return type("MNIST", (torchvision.datasets.MNIST,), self.served)


@pytest.fixture
def checksums(server, contents):
    """The names and checksums of the gzipped files, which are served."""
    folder, _ = server
    checksums = []
    for name in FILES:
        zipped = gzip.compress(contents[name])
        (folder / f"{name}.gz").write_bytes(zipped)
        checksums.append((f"{name}.gz", hashlib.md5(zipped).hexdigest()))
    return checksums


def test_missing_files_are_downloaded_once(tmp_path, server, checksums, contents, monkeypatch):
    _, address = server
    root = tmp_path / "new" / "root"
    module = _ready(_LocalMNIST(address, checksums, root=str(root)))
    assert len(module.train_images) == 40
    assert [path.name for path in root.iterdir()] == ["MNIST"]
    assert (root / "MNIST" / "raw" / FILES[0]).read_bytes() == contents[FILES[0]]
    again = _LocalMNIST(address, checksums, root=str(root))
    monkeypatch.setattr(again, "torchvision_class", lambda: pytest.fail("downloaded again"))
    again.prepare_data()


def test_download_with_a_wrong_checksum_leaves_nothing(tmp_path, server, checksums):
    folder, address = server
    damaged = folder / f"{FILES[2]}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    root = tmp_path / "root"
    with pytest.raises(
        DataError, match=r"MNIST/raw is missing and could not be downloaded: .*corrupted.*Put train-images"
    ):
        _LocalMNIST(address, checksums, root=str(root)).prepare_data()
    assert list(root.iterdir()) == []


def test_failed_download_says_how_to_place_files_by_hand(tmp_path, checksums):
    nowhere = f"{(tmp_path / 'nowhere').as_uri()}/"
    module = _LocalMNIST(nowhere, checksums, root=str(tmp_path / "root"))
    with pytest.raises(DataError, match=r"could not be downloaded.*t10k-labels-idx1-ubyte \(or \.gz\) into"):
        module.prepare_data()


def test_root_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be downloaded: .*file"):
        MNIST(root=str(tmp_path / "file")).prepare_data()


def test_torchvision_knows_the_data_sets():
    assert MNIST().torchvision_class() is torchvision.datasets.MNIST
    assert FashionMNIST().torchvision_class() is torchvision.datasets.FashionMNIST
    assert [f.removesuffix(".gz") for f, _ in torchvision.datasets.MNIST.resources] == FILES
