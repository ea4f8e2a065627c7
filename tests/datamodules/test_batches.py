"""Batches in memory."""

import pytest
import torch

from datamodules import EpochOrder, TensorBatches
from diffstab.streams import stream


@pytest.fixture
def data():
    return torch.arange(10.0).view(10, 1, 1, 1), torch.arange(10)


def test_full_batch_is_the_tensors_themselves(data):
    loader = TensorBatches(*data, sampler=EpochOrder(10, seed=0))
    [(images, labels)] = list(loader)
    assert images is data[0]
    assert labels is data[1]
    assert len(loader) == 1


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 11])
@pytest.mark.parametrize("sampler", [None, EpochOrder(10, seed=0)], ids=["ordered", "shuffled"])
def test_an_epoch_serves_every_image_once_with_its_label(data, batch_size, sampler):
    loader = TensorBatches(*data, batch_size=batch_size, sampler=sampler)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(len(labels) == batch_size for _, labels in batches[:-1])
    labels = torch.cat([labels for _, labels in batches])
    assert torch.equal(torch.cat([images for images, _ in batches]).flatten(), labels.float())
    assert torch.equal(labels.sort().values, data[1])
    assert (sampler is None) == torch.equal(labels, data[1])


def test_order_depends_on_seed_and_epoch_only():
    order = EpochOrder(50, seed=7)
    epochs = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        epochs.append(order.permutation())
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], EpochOrder(50, seed=8).permutation())


def test_no_epoch_repeats_the_draw_of_the_subset():
    order = EpochOrder(50, seed=7)
    for epoch in range(20):
        order.set_epoch(epoch)
        assert not torch.equal(
            order.permutation(), torch.randperm(50, generator=stream(7, "training images"))
        )


def test_epoch_may_be_announced_after_the_iterator_is_made(data):
    """Lightning makes the iterator of a resumed run before it announces the epoch."""
    loader = TensorBatches(*data, batch_size=10, sampler=EpochOrder(10, seed=0))
    iterator = iter(loader)
    loader.sampler.set_epoch(5)
    _, labels = next(iterator)
    assert torch.equal(labels, loader.sampler.permutation())


@pytest.mark.parametrize("count", [1, 2, 5, 20, 23])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("size", [None, 1, 4, 50])
def test_processes_share_the_images_and_repeat_none(monkeypatch, count, processes, size):
    images = torch.arange(count).view(count, 1, 1, 1)
    seen, lengths = [], []
    for process in range(processes):
        monkeypatch.setattr("datamodules.batches.process_place", lambda process=process: (process, processes))
        loader = TensorBatches(images, images.flatten(), batch_size=size)
        parts = [labels for _, labels in loader]
        lengths.append((len(loader), len(parts)))
        own = torch.cat(parts)
        assert torch.equal(own, torch.arange(count)[process::processes])
        seen.append(own)
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(count))
    assert len({number for pair in lengths for number in pair}) == 1, (
        "a process would wait for the others for ever"
    )


@pytest.mark.parametrize("count", [5, 20, 23])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_each_global_batch_of_a_training(monkeypatch, count, processes):
    images = torch.arange(count).view(count, 1, 1, 1)
    order = EpochOrder(count, seed=1)
    whole = [labels for _, labels in TensorBatches(images, images.flatten(), batch_size=4, sampler=order)]
    parts = []
    for process in range(processes):
        monkeypatch.setattr("datamodules.batches.process_place", lambda process=process: (process, processes))
        loader = TensorBatches(images, images.flatten(), batch_size=4, sampler=order)
        parts.append([labels for _, labels in loader])
        assert len(parts[-1]) == len(loader) == len(whole)
    for batch, *own in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat(own).sort().values, batch.sort().values)


def test_every_process_has_the_full_batch_of_a_training(monkeypatch):
    monkeypatch.setattr("datamodules.batches.process_place", lambda: (1, 2))
    images = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    ((found, _),) = TensorBatches(images, torch.zeros(5), sampler=EpochOrder(5, seed=0))
    assert torch.equal(found, images)


def test_every_process_has_the_whole_of_a_data_set_that_is_not_shared(monkeypatch, data):
    monkeypatch.setattr("datamodules.batches.process_place", lambda: (1, 2))
    ((images, labels),) = TensorBatches(*data, whole=True)
    assert images is data[0]
    assert labels is data[1]
