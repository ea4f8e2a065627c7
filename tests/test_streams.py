"""The maker of random generators: independent streams by name."""

import hashlib

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.streams import NumberedStream, _name, integer_seed, stream


def raw(generator, count=64):
    """The engine's next 32-bit words."""
    return torch.empty(count, dtype=torch.int64).random_(0, 2**32 - 1, generator=generator)


def test_the_state_is_that_of_another_twister_with_the_same_words():
    words = np.frombuffer(hashlib.shake_256(_name(5, ("weights",))).digest(4 * 624), dtype="<u4")
    engine = np.random.MT19937()
    engine.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    drawn = torch.empty(2000, dtype=torch.int32).random_(generator=stream(5, "weights"))
    # `random_` on int32 keeps the low 31 bits of each word.
    assert np.array_equal(drawn.numpy(), engine.random_raw(2000) & (2**31 - 1))


def test_a_name_gives_the_same_stream_again():
    assert torch.equal(raw(stream(3, "weights", 1)), raw(stream(3, "weights", 1)))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    raw(stream(3, "weights"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "weights"), (2**32, "weights")),
        ((7, "weights"), (7 + 2**32, "weights")),
        ((7, "weights"), (7 - 2**64, "weights")),
        ((1, "weights"), (-1, "weights")),
        ((0, "weights"), (0, "weights", 0)),
        ((0, "weights", 0), (0, "weights", 0, 0)),
        ((0, "weights", 1), (0, "weights", 1 + 2**32)),
        ((1, "a", "b"), (1, "ab")),
        ((1, "a", 1), (1, "a", "1")),
        ((11, "a"), (1, "1a")),
        ((0, "weights"), (0, "images")),
    ],
)
def test_other_names_are_other_streams(one, other):
    assert not torch.equal(raw(stream(*one)), raw(stream(*other)))


def test_streams_are_uncorrelated():
    seeds, count = 60, 4000
    draws = torch.stack(
        [torch.randn(count, generator=stream(s, use)) for s in range(seeds // 2) for use in "ab"]
    )
    correlation = torch.corrcoef(draws) - torch.eye(seeds)
    # The largest of 1770 correlations of independent draws: 4.5 standard errors has a chance of 1 %.
    assert correlation.abs().max() < 4.9 / count**0.5


def test_a_seed_of_another_library_is_in_range_and_depends_on_the_name():
    found = {integer_seed(seed, "tsne", below=2**32) for seed in range(1000)}
    assert len(found) == 1000
    assert min(found) >= 0
    assert max(found) < 2**32
    assert {integer_seed(seed, "tsne", below=3) for seed in range(50)} == {0, 1, 2}


@pytest.mark.parametrize("seed", [1.0, "1", True, None])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(ArgumentError, match="seed must be an integer"):
        stream(seed, "weights")


@pytest.mark.parametrize("use", [(), (1,), (1, "weights")])
def test_a_use_begins_with_a_word(use):
    with pytest.raises(ArgumentError, match="use must begin with a word"):
        stream(0, *use)


def test_the_bound_of_an_integer_is_positive():
    with pytest.raises(ArgumentError, match="below must be at least 1"):
        integer_seed(0, "tsne", below=0)


MASK = 2**64 - 1


def philox(counter, key):
    """Philox 4x64-10 as in the paper of Salmon et al., in whole numbers of Python."""
    a, b, c, d = counter
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (right >> 64) ^ b ^ key[0], right & MASK, (left >> 64) ^ d ^ key[1], left & MASK
        key = (key[0] + 0x9E3779B97F4A7C15) & MASK, (key[1] + 0xBB67AE8584CAA73B) & MASK
    return a, b, c, d


def test_numbered_draws_are_those_of_philox_counted_by_number_and_draw():
    key = tuple(np.frombuffer(hashlib.shake_256(_name(5, ("fields",))).digest(16), dtype="<u8").tolist())
    numbers, draw = [7, 0, 2**40], 3
    found = NumberedStream(5, "fields").uniform(numbers, (8,), draw=draw)
    for row, number in zip(found.tolist(), numbers, strict=True):
        words = [word for block in (1, 2) for word in philox((block, number, draw, 0), key)]
        assert row == [(word >> 11) * 2.0**-53 for word in words]


def test_numbered_draws_do_not_depend_on_what_is_drawn_beside_them():
    numbered = NumberedStream(3, "fields")
    whole = numbered.normal(torch.arange(50), (2, 3))
    assert whole.shape == (50, 2, 3)
    for numbers in ([9], [30, 2], list(range(50))):
        assert torch.equal(numbered.normal(numbers, (2, 3)), whole[numbers])
    others = [NumberedStream(4, "fields"), NumberedStream(3, "noise")]
    assert not any(torch.equal(other.normal(range(50), (2, 3)), whole) for other in others)
    assert not torch.equal(numbered.normal(range(50), (2, 3), draw=1), whole)
    assert numbered.uniform(range(3), ()).shape == (3,)


def test_numbered_normal_values_are_normal_and_uncorrelated():
    values = NumberedStream(0, "fields").normal(range(300), (1000,), dtype=torch.float32).double()
    count = values.numel()
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert float(values.pow(power).mean()) == pytest.approx(expected, abs=4.5 * (variance / count) ** 0.5)
    correlations = torch.corrcoef(values) - torch.eye(300, dtype=torch.float64)
    assert float(correlations.abs().max()) < 5.5 / 1000**0.5


@pytest.mark.parametrize("numbers", [[-1], [0.5], [[1]]])
def test_numbers_of_draws_are_integers(numbers):
    with pytest.raises(ArgumentError, match="numbers must be integers of at least 0"):
        NumberedStream(0, "fields").normal(torch.tensor(numbers), (2,))
