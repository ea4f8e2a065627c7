"""The name of a configuration."""

import hashlib
from pathlib import Path

import pytest

from diffstab.errors import ArgumentError
from diffstab.results import canonical_json, config_hash, flatten


def test_convention_hash_is_the_head_of_sha256_of_canonical_json():
    text = '{"a":[1,2.5,null],"b":{"c":true}}'
    assert canonical_json({"b": {"c": True}, "a": (1, 2.5, None)}) == text
    assert (
        config_hash({"b": {"c": True}, "a": [1, 2.5, None]}) == hashlib.sha256(text.encode()).hexdigest()[:16]
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}),
        ({"a": 1.0}, {"a": 1}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
    ],
)
def test_same_meaning_same_hash(one, other):
    assert config_hash(one) == config_hash(other)


def test_every_change_of_meaning_changes_the_hash():
    configs = [
        {"a": 1},
        {"a": "1"},
        {"a": True},
        {"a": None},
        {},
        {"b": 1},
        {"a": [1]},
        {"a": {"a": 1}},
        {"a": 1e-6},
        {"a": 1.0000001e-6},
        {"a": float("inf")},
        {"a": 1e300},
    ]
    assert len({config_hash(config) for config in configs}) == len(configs)


def test_a_value_that_is_not_plain_is_refused_by_its_dotted_name():
    with pytest.raises(ArgumentError, match=r"config\.data\.root must be a string, number.*PosixPath"):
        config_hash({"data": {"root": Path("x")}})
    with pytest.raises(ArgumentError, match=r"config\.a\.1 must be .* got set"):
        config_hash({"a": [0, {1}]})
    with pytest.raises(ArgumentError, match=r"config\.a must have strings as keys, got 3"):
        config_hash({"a": {3: 1}})


def test_flatten_gives_dotted_leaves():
    assert flatten({"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}, "f": {}}) == {
        "a.b": 1,
        "a.c.d": [1, {"e": 2}],
        "f": {},
    }
