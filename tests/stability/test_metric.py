import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.stability import RelativeStability, stability

ROOT = Path(__file__).parents[2]


def outputs(generator, count=41, offset=0.0, dtype=torch.float32):
    clean = offset + torch.randn(count, 3, generator=generator, dtype=dtype)
    changes = [scale * torch.randn(2, count, 3, generator=generator, dtype=dtype) for scale in (0.3, 0.5)]
    return clean, clean + changes[0], clean + changes[1]


def take(parts, indices):
    clean, deformed, noisy = parts
    return clean[indices], deformed[:, indices], noisy[:, indices]


def stream(parts, batches):
    metric = RelativeStability()
    for indices in batches:
        metric.update(*take(parts, indices))
    return metric


def assert_same(result, expected, rel=1e-12):
    assert [float(x) for x in result] == pytest.approx([float(x) for x in expected], rel=rel)


@pytest.mark.parametrize("sizes", [[41], [1] * 41, [1, 40], [40, 1], [7, 13, 21], [10, 10, 10, 10, 1]])
@pytest.mark.parametrize("shuffled", [False, True])
def test_streaming_equals_one_batch(generator, sizes, shuffled):
    parts = outputs(generator)
    order = torch.randperm(41, generator=generator) if shuffled else torch.arange(41)
    assert_same(stream(parts, order.split(sizes)).stability(), stability(*parts))


def test_streaming_survives_a_large_offset(generator):
    parts = outputs(generator, offset=1e6, dtype=torch.float64)
    # float64 holds 1e6 + f to 1e-10; batch means agree to that, the scatter to its square's root at worst
    assert_same(stream(parts, torch.arange(41).split(3)).stability(), stability(*parts), rel=1e-9)


def test_forward_gives_the_batch_and_keeps_the_whole(generator):
    parts = outputs(generator)
    metric = RelativeStability()
    batches = torch.arange(41).split(14)
    for indices in batches:
        value = metric(*take(parts, indices))
        assert float(value) == pytest.approx(float(stability(*take(parts, indices)).relative), rel=1e-12)
    assert_same(metric.stability(), stability(*parts))


def test_merge_state_joins_two_metrics(generator):
    parts = outputs(generator)
    first, second = stream(parts, [torch.arange(9)]), stream(parts, torch.arange(9, 41).split(10))
    first.merge_state(second)
    assert_same(first.stability(), stability(*parts))
    third = stream(parts, [torch.arange(9)])
    third.merge_state(RelativeStability())
    assert_same(third.stability(), stability(*take(parts, torch.arange(9))))


def test_reset_pickle_and_state_dict(generator):
    parts = outputs(generator)
    metric = stream(parts, torch.arange(41).split(8))
    copied = pickle.loads(pickle.dumps(metric))
    assert_same(copied.stability(), stability(*parts))
    metric.persistent(True)
    loaded = RelativeStability()
    loaded.load_state_dict(metric.state_dict())
    metric.reset()
    metric.update(*take(parts, torch.arange(5)))
    assert_same(metric.stability(), stability(*take(parts, torch.arange(5))))
    assert_same(copied.stability(), stability(*parts))
    assert_same(loaded.stability(), stability(*parts))


@pytest.mark.parametrize(
    "convert",
    [
        lambda m: m.to(torch.float32),
        lambda m: m.to(torch.bfloat16),
        lambda m: m.half(),
        lambda m: m.set_dtype(torch.float16),
        lambda m: torch.nn.ModuleList([m]).to("cpu", torch.float16)[0],
    ],
)
def test_a_change_of_dtype_rounds_nothing(generator, convert):
    parts = outputs(generator)
    metric = convert(stream(parts, torch.arange(20).split(8)))
    metric.update(*take(parts, torch.arange(20, 41)))
    assert metric.dtype == torch.float64
    assert_same(metric.stability(), stability(*parts))


def test_outputs_may_need_gradients_and_none_is_kept(generator):
    clean, deformed, noisy = outputs(generator)
    metric = RelativeStability()
    metric.update(clean.requires_grad_(), deformed, noisy)
    assert not any(x.requires_grad for x in metric.stability())


@pytest.mark.contract
def test_two_processes_equal_one(generator, tmp_path):
    parts = outputs(generator, count=22)
    parts = (parts[0], parts[1][0], parts[2][0])
    torch.save(parts, tmp_path / "data.pt")
    command = [sys.executable, "-m", "tests.references.stability_process"]
    places = [tmp_path / "rendezvous", tmp_path / "data.pt", tmp_path / "result"]
    processes = [
        subprocess.Popen([*command, str(rank), "2", *map(str, places)], cwd=ROOT, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    for rank in range(2):
        *both, computed, lopsided = torch.load(tmp_path / f"result.{rank}", weights_only=True)
        for found in both:  # the second with one rank that saw no image
            assert_same(found, stability(*parts))
        assert_same([computed, lopsided], [stability(*parts).relative] * 2)


def test_convention_lower_is_better():
    assert RelativeStability().higher_is_better is False


def test_nothing_seen_is_refused():
    with (
        pytest.warns(UserWarning, match="before the ``update`` method"),
        pytest.raises(ArgumentError, match=r"at least two images, got 0\. Call update before compute"),
    ):
        RelativeStability().compute()


def test_one_image_in_all_is_refused():
    metric = RelativeStability()
    metric.update(torch.zeros(1), torch.ones(1), torch.ones(1))
    with pytest.raises(ArgumentError, match="at least two images, got 1"):
        metric.compute()


@pytest.mark.parametrize("constant", [0.1, 1e6 + 0.3])
def test_a_constant_predictor_is_refused_over_batches(constant):
    metric = RelativeStability()
    for count in (1, 3, 6):
        clean = torch.full((count,), constant, dtype=torch.float64)
        metric.update(clean, clean + 1, clean + 1)
    with pytest.raises(DegenerateError, match="predictor is constant"):
        metric.compute()


def test_another_number_of_features_is_refused():
    metric = RelativeStability()
    metric.update(*[torch.arange(6.0).view(2, 3) for _ in range(3)])
    with pytest.raises(ArgumentError, match=r"f_clean must have 3 features like the batches before, got 2"):
        metric.update(*[torch.zeros(3, 2) for _ in range(3)])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ArgumentError, match="f_noisy must be finite"):
        RelativeStability().update(torch.zeros(2), torch.zeros(2), torch.tensor([0.0, math.nan]))
