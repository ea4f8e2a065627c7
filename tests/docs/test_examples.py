"""Each Python example runs alone and prints what stands below it."""

import re

import pytest

from tests.docs.pages import blocks, write_files

NUMBER = re.compile(r"-?\d[\d.]*(?:e[-+]?\d+)?%?")


def shape(text):
    """A text with each number replaced, and spaces made one: what another machine prints differs by rounding."""
    return re.sub(r"[ ]+", " ", NUMBER.sub("#", text)).replace(" \n", "\n")


@pytest.mark.filterwarnings("default")  # a user's own script does not raise on warnings either
@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_an_example_runs_alone_and_prints_what_stands_below_it(block, page_place, capsys):
    write_files(block.page, page_place)
    exec(compile(block.code, str(block), "exec"), {"__name__": "__main__"})
    assert shape(capsys.readouterr().out) == shape(block.shown)


def test_the_first_example_shows_plausible_numbers(place, capsys):
    block = next(block for block in blocks("python") if block.page == "README.md")
    exec(compile(block.code, "example", "exec"), {})
    intervals = re.findall(r"(\S+) \[(\S+), (\S+)\]", capsys.readouterr().out)
    assert len(intervals) == 3 * 5  # D, G and R of five layers
    for interval in intervals:
        value, low, high = map(float, interval)
        assert 0 < low <= value <= high < 100


def test_no_output_stands_without_an_example():
    assert blocks("text") == []
