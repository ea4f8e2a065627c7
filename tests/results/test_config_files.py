"""Configuration files that are variants of another one."""

import pytest
import yaml

from diffstab.errors import ArgumentError
from diffstab.results import read_config
from diffstab.results.config_files import merged
from diffstab.shipped import CONFIGS


@pytest.fixture
def write(tmp_path):
    """A writer of files below the test's folder."""

    def put(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return put


def test_a_file_without_a_parent_is_what_it_says(write):
    assert read_config(write("a.yaml", "rate: 1e-3\nsizes: [1, 2]\n")) == {"rate": 1e-3, "sizes": [1, 2]}
    assert read_config(write("b.yaml", "")) is None
    assert read_config(write("c.yaml", "- include\n")) == ["include"]


def test_what_differs_is_laid_over_a_chain_of_parents(write):
    write("base/first.yaml", {"net": {"width": 10, "depth": 2}, "sizes": [1, 2, 3], "loss": "mse"})
    write("base/second.yaml", {"include": "first.yaml", "net": {"width": 20}, "seed": 1})
    path = write("own/third.yaml", {"include": "../base/second.yaml", "net": {"depth": 3}, "sizes": [4]})
    assert read_config(path) == {"net": {"width": 20, "depth": 3}, "sizes": [4], "loss": "mse", "seed": 1}


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": 1}, {"a": None}, {}),
        ({"a": 1}, {"b": None}, {"a": 1, "b": None}),  # there is nothing to remove: a value
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, {"a": [{"c": 1}]}),
        ({"a": {"class_path": "X", "p": 1}}, {"a": {"p": 2}}, {"a": {"class_path": "X", "p": 2}}),
        ({"a": {"class_path": "X", "p": 1}}, {"a": {"class_path": "Y"}}, {"a": {"class_path": "Y"}}),
    ],
)
def test_convention_mappings_merge_and_null_removes(parent, child, expected):
    assert merged(parent, child) == expected


def test_a_file_that_comes_with_diffstab_can_be_the_parent(write):
    path = write("own.yaml", "include: experiment/mnist_small.yaml\nseeds: [7]\n")
    shipped = read_config(CONFIGS / "experiment" / "mnist_small.yaml")
    assert read_config(path) == {**shipped, "seeds": [7]}


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("absent.yaml", r"include in .*own\.yaml must name a file, got absent\.yaml: no .*absent\.yaml"),
        ("own.yaml", r"must lead to no file twice, got .*own\.yaml -> .*own\.yaml"),
        (
            "other.yaml",
            r"include in .*other\.yaml must lead to no file twice, got .*own.* -> .*other.* -> .*own",
        ),
        ("list.yaml", r"must name a file of options by name, got .*list\.yaml"),
        (["a.yaml", "b.yaml"], "must be the path of one file, got"),
    ],
)
def test_a_wrong_parent_is_told_in_a_line(write, include, message):
    write("other.yaml", {"include": "./own.yaml"})
    write("list.yaml", "[1, 2]")
    with pytest.raises(ArgumentError, match=message):
        read_config(write("own.yaml", {"include": include}))


def test_a_parent_that_is_no_yaml_is_named(write):
    write("broken.yaml", "a: [1\n")
    with pytest.raises(yaml.YAMLError, match=r"broken\.yaml, line 2"):
        read_config(write("own.yaml", {"include": "broken.yaml"}))


def test_every_shipped_variant_differs_from_its_parent():
    for path in CONFIGS.rglob("*.yaml"):
        text = path.read_text()
        if "\ninclude: " in text:
            own = {name: value for name, value in yaml.safe_load(text).items() if name != "include"}
            parent = read_config(path.parent / yaml.safe_load(text)["include"])
            assert merged(parent, own) == read_config(path), path
            # A line that says what the parent says already is one to read for nothing.
            assert all(value != parent.get(name) for name, value in own.items()), path
