import pytest

from diffstab.errors import ArgumentError
from diffstab.grid.options import flag, split_zipped


@pytest.mark.parametrize(
    "text",
    ["[[64], 0.1, None, 'relu', True]", "[[64], 0.1, null, relu, true]", '[[64], 0.1, null, "relu", true]'],
    ids=["python", "yaml", "json"],
)
def test_a_flag_of_several_names_sets_each(text):
    args = [
        "--config",
        "a,b.yaml",
        f"--n_train,penalty,threads,net.activation,interpolation={text}",
        "--x=[1,2]",
    ]
    assert split_zipped(args) == [
        "--config",
        "a,b.yaml",
        "--n_train=[64]",
        "--penalty=0.1",
        "--threads=null",
        "--net.activation=relu",
        "--interpolation=true",
        "--x=[1,2]",
    ]


def test_none_is_null():
    assert split_zipped(["--threads=None", "--name", "None"]) == ["--threads=null", "--name", "None"]


@pytest.mark.parametrize("tail", ["", "=", "=[1]", "=[1, 2, 3]", "=7", "=[1, {", "={'a': 1, 'b': 2}"])
def test_a_flag_of_several_names_needs_as_many_values(tail):
    with pytest.raises(ArgumentError, match=r"--a,b must be followed by = and a list of 2 values"):
        split_zipped([f"--a,b{tail}"])


def test_a_flag_holds_plain_values_only():
    with pytest.raises(ArgumentError, match=r"net must be a string, number, boolean, null, list or mapping"):
        flag("net", {"beta": object()})
