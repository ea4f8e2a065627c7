"""Every draw of the project comes from a stream of its own: who makes generators, and under which names."""

import ast
from pathlib import Path

import pytest
import torch

from datamodules import Digits
from diffstab.experiments.image_training import train
from diffstab.experiments.images import ImageExperiment, Method, NetChoice
from diffstab.experiments.unit import Cell
from diffstab.solvers.optimise import OptimiserSettings
from diffstab.solvers.stopping import StopRule
from diffstab.streams import stream

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("diffstab", "datamodules")
    for path in (ROOT / folder).rglob("*.py")
    if path != ROOT / "diffstab" / "streams.py"
)
MAKERS = {
    "Generator",
    "manual_seed",
    "seed_everything",
    "default_rng",
    "SeedSequence",
    "RandomState",
    "seed",
    "Random",
}
ALLOWED = {
    # A generator that came with a pickled object is made again, with the state that it had.
    ("diffstab/diffeo/process_streams.py", "Generator"),
    # What a foreign deformation draws from is made to follow the generator, and put back.
    ("diffstab/stability/probes.py", "manual_seed"),
    ("diffstab/stability/probes.py", "seed"),
    # Simulated error rates of the rules: no record hangs on them, and they need numpy's laws.
    ("diffstab/report/claims/power.py", "default_rng"),
}
SHARED = {
    # Both settings of a configuration are checked by building a net whose weights nobody sees.
    "weights of a check",
}


def calls(path):
    """The calls of a file, with the last part of the name of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def test_nobody_else_makes_or_seeds_a_generator():
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in FILES
        for name, _ in calls(path)
        if name in MAKERS
    }
    assert found <= ALLOWED


def uses():
    """The first word of each named stream, and where it is made."""
    for path in FILES:
        for name, node in calls(path):
            if name in ("stream", "integer_seed", "NumberedStream"):
                yield path.relative_to(ROOT).as_posix(), node.lineno, node.args[1]


def test_each_use_has_a_word_of_its_own():
    places = {}
    for path, line, word in uses():
        assert isinstance(word, ast.Constant), f"{path}:{line} names no word"
        places.setdefault(word.value, []).append(f"{path}:{line}")
    assert len(places) > 20
    shared = {word: where for word, where in places.items() if len(where) > 1 and word not in SHARED}
    assert not shared


def test_initial_weights_are_independent_of_the_choice_of_training_images():
    for seed in range(4):
        weights = torch.rand(64, generator=stream(seed, "weights", 0))
        images = torch.rand(64, generator=stream(seed, "training images"))
        assert not torch.equal(weights, images)


@pytest.mark.parametrize("seed", [0, 2**40])
def test_smaller_training_sets_are_parts_of_larger_ones(seed):
    small, large = (Digits(n_train=n, seed=seed, size=8) for n in (50, 100))
    for data in (small, large):
        data.setup()
    assert torch.equal(small.train_images, large.train_images[:50])
    assert torch.equal(small.test_images, large.test_images)


def test_seeds_that_share_their_low_32_bits_choose_other_images():
    one, other = (Digits(n_train=50, seed=seed, size=8) for seed in (1, 1 + 2**32))
    for data in (one, other):
        data.setup()
    assert not torch.equal(one.train_images, other.train_images)


def initial_weights(method, n_train, seed=0):
    """The initial weights of each member of a method trained for one step."""
    settings = OptimiserSettings(stop=StopRule(max_steps=1))
    choice = Method(trainer=method, ensemble=2, optimiser=settings)
    experiment = ImageExperiment(
        methods={"a": choice}, net=NetChoice(hidden=[8]), n_train=[n_train], seeds=[seed]
    )
    data = Digits(n_train=n_train, n_test=10, seed=seed, size=8)
    data.setup()
    models = train(experiment, Cell(n_train=n_train, seed=seed, method="a"), data).models
    return [torch.cat([w.flatten() for w in model.initial.weights]) for model in models]


def test_a_seed_gives_every_method_and_size_the_same_net_and_each_member_its_own():
    first, second = initial_weights("gd", 8)
    assert not torch.equal(first, second)
    for method, n_train in (("adam", 8), ("gd", 16)):
        assert torch.equal(first, initial_weights(method, n_train)[0])
    assert not torch.equal(first, initial_weights("gd", 8, seed=1)[0])
