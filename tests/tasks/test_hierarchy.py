"""The random hierarchy model against its definition, written out with loops over all strings."""

from collections import Counter
from itertools import product

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.tasks import Hierarchy
from diffstab.tasks.images import read_images, string_images

SMALL = {
    "two levels": {"levels": 2, "synonyms": 2, "features": 4, "classes": 3},
    "three levels": {"levels": 3, "synonyms": 2, "features": 3, "classes": 2},
    "triples": {"levels": 2, "synonyms": 2, "features": 2, "classes": 2, "tuple_size": 3},
    "all tuples": {"levels": 2, "synonyms": 3, "features": 3, "classes": 3},
    "one level": {"levels": 1, "synonyms": 4, "features": 4, "classes": 4},
    "sparse": {"levels": 2, "synonyms": 2, "features": 2, "classes": 2, "empty": 1},
    "very sparse": {"levels": 1, "synonyms": 3, "features": 4, "classes": 3, "empty": 2},
}
DENSE = [name for name in SMALL if "sparse" not in name]


def hierarchy(name, **options):
    return Hierarchy(**SMALL[name] | options)


def grown(rules, parent, level=0):
    """All strings below a parent, by recursion."""
    if level == len(rules):
        return [(parent,)]
    return [
        sum(parts, ())
        for children in rules[level][parent]
        for parts in product(*(grown(rules, child, level + 1) for child in children))
    ]


def placed(parent, rules, room, level=0):
    """All strings of places below a parent, None where a place is empty, by recursion."""
    size = len(rules[0][0][0])
    if level == len(rules):
        return [(parent,)]
    nothing = (None,) * (size * room) ** (len(rules) - level - 1)
    found = []
    for children in rules[level][parent]:
        slots = []
        for child in children:
            below = placed(child, rules, room, level + 1)
            slots.append(
                [nothing * at + one + nothing * (room - 1 - at) for at in range(room) for one in below]
            )
        found += [sum(parts, ()) for parts in product(*slots)]
    return found


def rows(tensor):
    return [tuple(row) for row in tensor.tolist()]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_rules_are_distinct_tuples_that_no_two_parents_share(name, seed):
    one = hierarchy(name, seed=seed)
    assert len(one.rules) == one.levels
    for level, rule in enumerate(one.rules):
        assert rule.shape == (one.features if level else one.classes, one.synonyms, one.tuple_size)
        assert 0 <= int(rule.min()) <= int(rule.max()) < one.features
        tuples = rows(rule.flatten(0, 1))
        assert len(set(tuples)) == len(tuples)


@pytest.mark.parametrize("name", DENSE)
def test_all_strings_are_those_of_the_grammar_each_with_one_class(name):
    one = hierarchy(name)
    found = one.all_strings()
    size = one.tuple_size
    assert one.n_strings == one.classes * one.synonyms ** ((size**one.levels - 1) // (size - 1))
    strings, rules = rows(found.features), [rule.tolist() for rule in one.rules]
    assert len(set(strings)) == one.n_strings
    for label in range(one.classes):
        of_class = {
            string for string, its in zip(strings, found.classes.tolist(), strict=True) if its == label
        }
        assert of_class == set(grown(rules, label))
        assert len(of_class) == one.n_strings // one.classes
    assert torch.equal(one.classes_of(found.features), found.classes)
    assert torch.equal(found.places, torch.arange(size**one.levels).expand_as(found.places))


@pytest.mark.parametrize("name", ["two levels", "three levels", "triples"])
def test_strings_outside_of_the_grammar_have_no_class(name):
    one = hierarchy(name)
    every = torch.cartesian_prod(*[torch.arange(one.features)] * one.n_features)
    classes = one.classes_of(every)
    known = dict(zip(rows(one.all_strings().features), one.all_strings().classes.tolist(), strict=True))
    assert classes.tolist() == [known.get(row, -1) for row in rows(every)]
    assert (classes == -1).any()


def test_where_all_tuples_have_a_parent_all_strings_have_a_class():
    one = hierarchy("all tuples")  # m = v^(s - 1), n_c = v
    assert one.n_strings == 3**4
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    assert Counter(one.classes_of(every).tolist()) == {0: 27, 1: 27, 2: 27}


@pytest.mark.parametrize("name", ["sparse", "very sparse"])
def test_sparse_strings_are_those_of_the_tree_with_empty_places(name):
    one = hierarchy(name)
    found, room = one.all_strings(), one.empty + 1
    nodes = sum(one.tuple_size**level for level in range(1, one.levels + 1))
    assert one.n_strings == hierarchy(name, empty=0).n_strings * room**nodes
    images = string_images(found.features, found.places, one)
    assert images.shape == (one.n_strings, one.features, 1, (one.tuple_size * room) ** one.levels)
    written = [
        tuple(column.argmax().item() if column.any() else None for column in image[:, 0].T)
        for image in images
    ]
    rules = [rule.tolist() for rule in one.rules]
    for label in range(one.classes):
        of_class = [
            string for string, its in zip(written, found.classes.tolist(), strict=True) if its == label
        ]
        expected = placed(label, rules, room)
        assert Counter(of_class) == Counter(expected)
        assert len(set(expected)) == len(expected)
    assert torch.equal(one.classes_of(found.features), found.classes)


@pytest.mark.parametrize("name", SMALL)
def test_images_are_read_as_they_were_written(name):
    one = hierarchy(name)
    found = one.draw(min(50, one.n_strings), generator=torch.Generator().manual_seed(1))
    features, places = read_images(string_images(found.features, found.places, one).float(), one)
    assert torch.equal(features, found.features)
    assert torch.equal(places, found.places)


@pytest.mark.parametrize("name", SMALL)
def test_an_exchange_by_synonyms_keeps_the_class_and_changes_every_tuple(name):
    one = hierarchy(name)
    features = one.all_strings().features
    for step in range(1, one.synonyms):
        steps = torch.full((len(features), one.n_features // one.tuple_size), step)
        changed = one.exchanged(features, steps)
        assert torch.equal(one.classes_of(changed), one.classes_of(features))
        before, after = (part.unflatten(1, (-1, one.tuple_size)) for part in (features, changed))
        assert bool((before != after).any(-1).all())
        lowest = [{tuple(child) for child in children} for children in one.rules[-1].tolist()]
        for pair in zip(rows(before.flatten(0, 1)), rows(after.flatten(0, 1)), strict=True):
            assert any(set(pair) <= children for children in lowest)
    assert torch.equal(one.exchanged(features, torch.zeros_like(steps)), features)


@pytest.mark.parametrize(("name", "count"), [("two levels", 20), ("many", 300)])
def test_drawn_strings_are_different_ones_of_the_grammar(name, count):
    one = Hierarchy(levels=4, synonyms=4) if name == "many" else hierarchy(name)
    drawn = one.draw(count, generator=torch.Generator().manual_seed(3))
    assert len(set(rows(drawn.features))) == count
    assert torch.equal(one.classes_of(drawn.features), drawn.classes)


def test_classes_and_synonyms_are_drawn_uniformly():
    one = Hierarchy(levels=4, synonyms=4)
    assert one.n_strings == 8 * 4**15
    drawn = one.draw(8000, generator=torch.Generator().manual_seed(4))
    counts = torch.bincount(drawn.classes, minlength=8).double()
    # Eight classes of 1000 expected: a chi-square of 7 degrees of freedom is above 24.3 in 0.1 % of the cases.
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 24.3
    firsts = {tuple(pair) for pair in drawn.features[:, :2].tolist()}
    assert firsts == set(rows(one.rules[-1].flatten(0, 1)))


def test_the_seed_decides_the_rules():
    one, again, other = (Hierarchy(seed=seed) for seed in (5, 5, 6))
    assert all(torch.equal(*pair) for pair in zip(one.rules, again.rules, strict=True))
    assert not torch.equal(one.rules[0], other.rules[0])
    assert not torch.equal(one.rules[0], one.rules[1])  # as many parents, yet another level


def test_known_sizes_are_those_of_the_sources():
    assert Hierarchy(levels=3, synonyms=6, classes=8).known_size == 8 * 6**3
    assert Hierarchy(levels=3, synonyms=4, empty=2).known_size == 8 * 4**3 * 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "levels must be an integer of at least 1, got 0"),
        ({"synonyms": 2.5}, "synonyms must be an integer of at least 1, got 2.5"),
        ({"features": 1}, "features must be an integer of at least 2"),
        ({"classes": 1}, "classes must be an integer of at least 2"),
        ({"tuple_size": 1}, "tuple_size must be an integer of at least 2"),
        ({"empty": -1}, "empty must be an integer of at least 0"),
        ({"seed": True}, "seed must be an integer of at least 0"),
        ({"synonyms": 9}, "synonyms must be at most 64 tuples / 8 parents, got 9"),
        ({"classes": 20}, "synonyms must be at most 64 tuples / 20 parents, got 4"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Hierarchy(**options)


def test_what_cannot_be_done_is_refused():
    one = hierarchy("two levels")
    with pytest.raises(ArgumentError, match="count must lie in 1 to 24, the number of strings, got 25"):
        one.draw(25, generator=torch.Generator())
    with pytest.raises(ArgumentError, match="hierarchy must have at most 1048576 strings"):
        Hierarchy(levels=4).all_strings()
    outside = torch.cartesian_prod(*[torch.arange(4)] * 4)
    with pytest.raises(ArgumentError, match="features must be tuples of the rules"):
        one.exchanged(outside, torch.ones(len(outside), 2, dtype=torch.int64))


def test_other_images_are_refused():
    one = hierarchy("sparse")
    drawn = one.draw(5, generator=torch.Generator().manual_seed(0))
    images = string_images(drawn.features, drawn.places, one).float()
    with pytest.raises(ArgumentError, match=r"images must have shape \(n, 2, 1, 16\), got \(5, 2, 1, 15\)"):
        read_images(images[..., 1:], one)
    with pytest.raises(ArgumentError, match="images must be one-hot"):
        read_images(2 * images, one)
    with pytest.raises(ArgumentError, match="images must be one-hot"):
        read_images(torch.ones_like(images), one)
    with pytest.raises(ArgumentError, match="images must hold 4 features each"):
        read_images(0 * images, one)
