"""One reading of YAML: the numbers of the command line, and no key twice."""

import jsonargparse
import pytest
import yaml

from diffstab.results.yaml_text import dump_yaml, parse_yaml

SCALARS = """
1e-6 1E5 1e+3 1. 1.5e3 .5 .5e-3 -1e-6 +1e2 1_000 1_0e3 0x1f 010 1:30 1:30.5 2024-01-01 yes null ~ inf .inf nan .nan
-.inf e5 1e 1e5x '1e-6' [1e-3,a] {"a":1e-2} 0b11 -.5 12 -3 true None 1,5
"""


@pytest.mark.parametrize("text", [*SCALARS.split(), ""])
def test_values_are_those_of_the_command_line(text):
    # Written out, as nan is unlike itself and 1 like 1.0.
    assert repr(parse_yaml(text)) == repr(jsonargparse.get_loader("yaml")(text))


@pytest.mark.parametrize("text", [*SCALARS.split(), "", "4e123456789012", "1234567890123e45", "a: b", "é\n"])
def test_text_that_is_written_is_read_as_text(text):
    """The name of a record may be 16 digits with one e among them, which is a number to the command line."""
    value = {"a": [text, 1e-6, 1, None, True], text: "x"}
    assert parse_yaml(dump_yaml(value)) == value


def test_numbers_need_no_point():
    assert parse_yaml("[1e-6, 0.000001, 1.0e-6]") == [1e-6] * 3


def test_a_mapping_overrides_what_it_merges():
    assert parse_yaml("a: &b {x: 1, y: 2}\nc:\n  <<: *b\n  x: 3")["c"] == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"f\.yaml, line 3, column 1: the key 'a' is there already, in line 1"),
        ("x:\n  y: {p: 1, p: 2}", "f.yaml, line 2, column 13: the key 'p' is there already, in line 2"),
        ("- 1: a\n  1.0: b", "line 2, column 3: the key 1.0 is there already"),
        (b"\xff\xfe\x00\x01", "f.yaml, byte 0: no text in UTF-8"),
        (b"\x00\x01", "f.yaml: .*control characters"),
        ("!!int x", "a value that cannot be read"),
        ("a: [1", "f.yaml, line 2, column 1"),
        ("[" * 5000, "f.yaml"),
        ("!!python/object:os.system x", "could not determine a constructor"),
        ("&a [*a]", "recursive"),
        ("a: *x", "undefined alias"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line_with_its_place(text, message):
    with pytest.raises(yaml.YAMLError, match=message) as caught:
        parse_yaml(text, name="f.yaml")
    assert "\n" not in str(caught.value)
