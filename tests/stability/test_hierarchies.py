"""Exchange of synonyms and moves of features, against loops over strings."""

import pickle

import pytest
import torch

from datamodules import RandomHierarchy
from diffstab.errors import ArgumentError
from diffstab.stability import FeatureMoves, LayerPass, SynonymExchange, measure_stability, numbered_pairs
from diffstab.tasks import Hierarchy
from diffstab.tasks.images import read_images

DENSE = {"levels": 3, "synonyms": 3, "features": 4, "classes": 4}
SPARSE = {**DENSE, "levels": 2, "empty": 2}


def strings(**options):
    """Test images and rules."""
    data = RandomHierarchy(**options, n_test=60, pool=200)
    data.setup()
    return data.test_images, data.test_labels, data.hierarchy


def changed(deform, images, fields=40):
    """Many changes of each image, (fields, n, ...)."""
    probes = numbered_pairs(images, torch.arange(len(images)), deform=deform, fields_per_image=fields, seed=2)
    return probes.deformed


@pytest.mark.parametrize(
    ("options", "kind"), [(DENSE, SynonymExchange), (SPARSE, SynonymExchange), (SPARSE, FeatureMoves)]
)
def test_changed_strings_keep_their_class(options, kind):
    images, labels, rules = strings(**options)
    for version in changed(kind(hierarchy=rules), images):
        features, _ = read_images(version, rules)
        assert torch.equal(rules.classes_of(features), labels)


@pytest.mark.parametrize("options", [DENSE, SPARSE])
def test_every_tuple_becomes_each_of_its_other_synonyms_as_often(options):
    images, _, rules = strings(**options)
    features, places = read_images(images, rules)
    lowest = rules.rules[-1].tolist()
    parents = {tuple(child): parent for parent, children in enumerate(lowest) for child in children}
    counts = {}
    for version in changed(SynonymExchange(hierarchy=rules), images):
        after, kept = read_images(version, rules)
        assert torch.equal(kept, places)
        pairs = zip(features.view(-1, 2).tolist(), after.view(-1, 2).tolist(), strict=True)
        for old, new in pairs:
            assert old != new
            assert parents[tuple(old)] == parents[tuple(new)]
            step = (lowest[parents[tuple(old)]].index(new) - lowest[parents[tuple(old)]].index(old)) % 3
            counts[step] = counts.get(step, 0) + 1
    assert set(counts) == {1, 2}
    total = sum(counts.values())
    assert abs(counts[1] - total / 2) < 2 * total**0.5  # four standard deviations


def test_every_feature_moves_to_each_other_place_of_its_slot_as_often():
    images, _, rules = strings(**SPARSE)
    features, places = read_images(images, rules)
    counts = {}
    for version in changed(FeatureMoves(hierarchy=rules), images):
        kept, after = read_images(version, rules)
        assert torch.equal(kept, features)
        for old, new in zip(places.flatten().tolist(), after.flatten().tolist(), strict=True):
            assert old // 3 == new // 3  # slots of s_0 + 1 = 3 places
            counts[(new - old) % 3] = counts.get((new - old) % 3, 0) + 1
    total = sum(counts.values())
    assert set(counts) == {1, 2}
    assert abs(counts[1] - total / 2) < 2 * total**0.5


def test_a_predictor_of_the_class_is_blind_and_one_of_the_string_is_not():
    images, _, rules = strings(**SPARSE)

    def of_class(x):
        features, _ = read_images(x.round().clamp(0, 1), rules)
        return torch.nn.functional.one_hot(rules.classes_of(features), 4).to(x)

    for kind in (SynonymExchange, FeatureMoves):
        with LayerPass(of_class, deformations=[kind(hierarchy=rules)], noise=1e-6) as measuring:
            measuring.update(images, torch.arange(60))
        assert float(measuring.sums()[0, ""].stability().deformation) == 0
    # Every feature moves: 2 s^L places of the image change by 1, as for two strings without a place in common.
    found = measure_stability(lambda x: x, images, deform=FeatureMoves(hierarchy=rules)).estimate
    pairs = torch.cdist(images.flatten(1).double(), images.flatten(1).double()).square().sum() / (60 * 59)
    assert float(found.deformation) == pytest.approx(2 * 4 / float(pairs), rel=1e-6)


def test_what_is_drawn_hangs_on_the_number_of_the_string_and_can_be_pickled():
    images, _, rules = strings(**SPARSE)
    deform = pickle.loads(pickle.dumps(SynonymExchange(hierarchy=rules)))
    numbers = torch.arange(60)
    together = numbered_pairs(images, numbers, deform=deform, seed=1).deformed[0]
    apart = [
        numbered_pairs(images[i : i + 1], numbers[i : i + 1], deform=deform, seed=1).deformed[0]
        for i in (0, 7, 59)
    ]
    assert torch.equal(torch.cat(apart), together[[0, 7, 59]])
    assert not torch.equal(numbered_pairs(images, numbers, deform=deform, seed=2).deformed[0], together)


def test_what_cannot_be_changed_is_refused():
    images, _, rules = strings(**DENSE)
    with pytest.raises(ArgumentError, match="empty must be at least 1 for features to move, got 0"):
        FeatureMoves(hierarchy=rules)
    with pytest.raises(ArgumentError, match="synonyms must be at least 2 to be exchanged, got 1"):
        SynonymExchange(hierarchy=Hierarchy(synonyms=1))
    others = Hierarchy(**DENSE, seed=5)
    with pytest.raises(ArgumentError, match="features must be tuples of the rules"):
        numbered_pairs(images, torch.arange(60), deform=SynonymExchange(hierarchy=others), seed=0)
    with pytest.raises(ArgumentError, match="images must be one-hot"):
        numbered_pairs(images - 0.5, torch.arange(60), deform=SynonymExchange(hierarchy=rules), seed=0)
    with pytest.raises(
        ArgumentError, match="deformation must move pixels of images, got a change of strings"
    ):
        SynonymExchange(hierarchy=rules).field(torch.ones(1, 4), 1, 8)
