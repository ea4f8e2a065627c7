"""CIFAR10 from a small made-up archive in the pickled format of the real one."""

import hashlib
import pickle
import tarfile

import numpy as np
import pytest
import torch
import torchvision

from datamodules import CIFAR10
from diffstab.errors import DataError

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


class _Python2Array:
    """Pickles as Python 2's NumPy did, in which the real archive was written: integers for flags."""

    def __init__(self, values):
        self.values = values

    def __reduce__(self):
        # The name of a function that old pickles refer to and NumPy still serves.
        rebuild = np.zeros(0).__reduce__()[0]
        state = (1, self.values.shape, _Python2Bytes(), 0, self.values.tobytes())
        return rebuild, (np.ndarray, (0,), b"b"), state


class _Python2Bytes:
    def __reduce__(self):
        return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)


@pytest.fixture
def archive(server, generator):
    """The folder of the made-up archive, its pixels, and a torchvision class with its checksums."""
    served, address = server
    folder = served / "cifar-10-batches-py"
    folder.mkdir()
    pixels = {}
    for name in [*BATCHES, "test_batch"]:
        pixels[name] = torch.randint(0, 256, (20, 3072), dtype=torch.uint8, generator=generator)
        entry = {"data": _Python2Array(pixels[name].numpy()), "labels": [k % 10 for k in range(20)]}
        (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}, protocol=2))
    checksums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    zipped = served / "cifar-10-python.tar.gz"
    with tarfile.open(zipped, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    dataset = type(
        "CIFAR10",
        (torchvision.datasets.CIFAR10,),
        {
            "url": address + zipped.name,
            "tgz_md5": hashlib.md5(zipped.read_bytes()).hexdigest(),
            "train_list": [[name, checksums[name]] for name in BATCHES],
            "test_list": [["test_batch", checksums["test_batch"]]],
            "meta": {"filename": "batches.meta", "key": "label_names", "md5": checksums["batches.meta"]},
        },
    )
    return folder, pixels, dataset


@pytest.fixture
def make(archive):
    """A data module that takes the made-up archive for the real one."""

    class MadeUp(CIFAR10):
        def torchvision_class(self):
            return archive[2]

    return MadeUp


def test_reads_what_was_written(archive, make):
    folder, pixels, _ = archive
    module = make(root=str(folder.parent), normalisation="none", labels="classes")
    module.prepare_data()
    module.setup()
    assert module.name == "cifar10"
    assert module.class_names == tuple(NAMES)
    assert module.train_images.shape == (100, 3, 32, 32)
    # Planes of red, green and blue, each row by row.
    planes = torch.cat([pixels[name] for name in BATCHES]).float() / 255
    labels = torch.arange(100) % 20 % 10
    written = torch.cat([planes, labels[:, None]], 1)
    read = torch.cat([module.train_images.flatten(1), module.train_labels[:, None]], 1)
    assert sorted(read.tolist()) == sorted(written.tolist())
    assert len(module.test_images) == 20


def test_missing_archive_is_downloaded_without_leftovers(make, tmp_path):
    root = tmp_path / "root"
    module = make(root=str(root), n_train=30)
    module.prepare_data()
    module.setup()
    assert module.train_images.shape == (30, 3, 32, 32)
    assert torch.bincount(module.train_classes).tolist() == [3] * 10
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]


def test_damaged_download_leaves_nothing(archive, make, tmp_path):
    zipped = archive[0].parent / "cifar-10-python.tar.gz"
    zipped.write_bytes(zipped.read_bytes()[:-50])
    root = tmp_path / "root"
    with pytest.raises(DataError, match=r"could not be downloaded: .*corrupted.*Unpack cifar-10-python"):
        make(root=str(root)).prepare_data()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_or_missing_file_is_refused(archive, make, name):
    folder = archive[0]
    content = (folder / name).read_bytes()
    module = make(root=str(folder.parent))
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"does not match its checksum .*cifar-10-batches-py.*Delete"):
        module.setup()
    (folder / name).unlink()
    with pytest.raises(DataError, match="cifar10 is missing"):
        module.setup()


def test_torchvision_knows_the_data_set():
    dataset = CIFAR10().torchvision_class()
    assert dataset is torchvision.datasets.CIFAR10
    assert dataset.base_folder == CIFAR10.folder
