"""The sampler in the workers of a data loader, in several ranks, and compiled."""

import os

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from diffstab.diffeo.process_streams import process_stream
from diffstab.diffeo.sampler import RandomDiffeomorphism

LENGTH = 6


class OneImage(Dataset):
    """The same image again and again, deformed."""

    def __init__(self, augment):
        self.augment = augment
        self.image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(9))

    def __len__(self):
        return LENGTH

    def __getitem__(self, index):
        return self.augment(self.image)


def make(seed=2):
    return RandomDiffeomorphism(0.7, p=0.999, generator=torch.Generator().manual_seed(seed))


def images_of(augment, *, workers=2, epochs=3, seed=0, **options):
    if workers:
        options = {"multiprocessing_context": "fork", **options}
    generator = torch.Generator().manual_seed(seed)  # of the loader: the seeds of its workers
    loader = DataLoader(OneImage(augment), batch_size=1, num_workers=workers, generator=generator, **options)
    return torch.stack([torch.cat(list(loader)) for _ in range(epochs)]).flatten(0, 1)


def number_of_distinct(images):
    return len(torch.unique(images.flatten(1), dim=0))


def test_without_workers_the_generator_itself_goes_on():
    augment, image = make(), OneImage(None).image
    expected = [make_one(image) for make_one in [make()] for _ in range(2 * LENGTH)]
    assert torch.equal(images_of(augment, workers=0, epochs=2), torch.stack(expected))


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_and_epochs_have_draws_of_their_own(persistent):
    images = images_of(make(), persistent_workers=persistent)
    assert number_of_distinct(images) == 3 * LENGTH
    assert torch.equal(
        images_of(make(), persistent_workers=persistent), images
    )  # the same seeds repeat a run
    assert number_of_distinct(torch.cat([images, images_of(make(), seed=1)])) == 6 * LENGTH
    assert number_of_distinct(torch.cat([images, images_of(make(seed=3))])) == 6 * LENGTH


@pytest.mark.contract
def test_spawned_workers_draw_what_forked_ones_draw():
    spawned = images_of(make(), epochs=2, multiprocessing_context="spawn")
    assert number_of_distinct(spawned) == 2 * LENGTH
    assert torch.equal(spawned, images_of(make(), epochs=2))


def test_the_global_generator_of_a_worker_is_seeded_by_torch():
    with torch.random.fork_rng(devices=[]):
        augment = RandomDiffeomorphism(0.7)
        images = images_of(augment, epochs=2)
        assert number_of_distinct(images) == 2 * LENGTH
        assert torch.equal(images_of(augment, epochs=2), images)


def test_a_worker_that_seeds_the_generator_itself_is_obeyed():
    images = images_of(make(), epochs=1, worker_init_fn=seed_alike)
    assert number_of_distinct(images) == LENGTH
    assert torch.equal(images, images_of(make(seed=8), epochs=1, worker_init_fn=seed_alike))


def seed_alike(worker):
    torch.utils.data.get_worker_info().dataset.augment.generator.manual_seed(77)


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_with_the_same_seeds_have_draws_of_their_own(workers, monkeypatch):
    drawn = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        drawn.append(images_of(make(), workers=workers, epochs=2))
        assert torch.equal(images_of(make(), workers=workers, epochs=2), drawn[-1])
    assert number_of_distinct(torch.cat(drawn)) == 3 * 2 * LENGTH
    monkeypatch.delenv("RANK")
    assert torch.equal(images_of(make(), workers=workers, epochs=2), drawn[0])


def test_a_stream_goes_on_until_the_generator_is_changed():
    generator = torch.Generator().manual_seed(1)
    assert process_stream(generator, None, rank=0) is None
    one = process_stream(generator, None, rank=2)
    assert process_stream(generator, one, rank=2) is one
    assert process_stream(generator, one, rank=3).name != one.name
    generator.manual_seed(2)
    other = process_stream(generator, one, rank=2)
    assert not torch.equal(torch.rand(9, generator=other.generator), torch.rand(9, generator=one.generator))
    assert torch.equal(
        torch.rand(9, generator=generator), torch.rand(9, generator=torch.Generator().manual_seed(2))
    )


def _draw_in_rank(rank, folder):
    os.environ.pop("RANK", None)
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    forked = images_of(make(), epochs=1)
    spawned = images_of(make(), workers=1, epochs=1, multiprocessing_context="spawn")
    torch.save((images_of(make(), workers=0, epochs=1), forked, spawned), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.contract
def test_two_processes_of_a_group(tmp_path):
    torch.multiprocessing.spawn(_draw_in_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for one, other in zip(first, second):
        assert number_of_distinct(torch.cat([one, other])) == 2 * LENGTH
    for alone, forked, spawned in (first, second):
        assert torch.equal(
            forked[:LENGTH:2], spawned[: LENGTH // 2]
        )  # one worker draws what the first of two draws
        assert number_of_distinct(torch.cat([alone, forked])) == 2 * LENGTH
    assert torch.equal(first[0], images_of(make(), workers=0, epochs=1))


@pytest.mark.contract
def test_compiled_it_draws_and_warps_the_same():
    images = torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    eager, compiled = make(seed=4), torch.compile(make(seed=4), backend="eager")
    for batch in (images, images[:4], images[0]):
        assert torch.allclose(compiled(batch), eager(batch), atol=1e-5)
