from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.nets import output_part

Named = namedtuple("Named", ["logits", "features"])


@dataclass
class Record:
    logits: torch.Tensor
    parts: tuple


A, B = torch.zeros(2, 3), torch.ones(2, 5)


@pytest.mark.parametrize(
    ("output", "path", "expected"),
    [
        (A, None, A),
        (A, "", A),
        ((A, B), "1", B),
        ([A, B], "-1", B),
        ({"logits": A, "0": B}, "0", B),
        ({"out": {"deep": (A, B)}}, "out.deep.1", B),
        (Named(A, B), "features", B),
        (Named(A, B), "1", B),
        (Record(A, (B,)), "parts.0", B),
    ],
)
def test_parts(output, path, expected):
    assert output_part(path)(output) is expected


@pytest.mark.parametrize(
    ("output", "path", "match"),
    [
        ((A, B), "", r"output must be a tensor, got tuple of Tensor, Tensor. Name one of them: 0, 1\."),
        ({"out": {"deep": A}}, "out", r"output.out must be a tensor.*Name one of them: out.deep\."),
        (Record(A, ()), "", r"got Record. Name one of them: logits, parts\."),
        (Named(A, B), "", "Name one of them: logits, features"),
        (None, "", "output must be a tensor, got NoneType"),
        ((A,), "1", "output must have the part '1', got tuple of Tensor"),
        ({"a": A}, "b", "output must have the part 'b', got dict with keys a"),
        (A, "shape", r"output must have the part 'shape', got a tensor of shape \(2, 3\)"),
        ({"a": A}, "a.mT", "output.a must have the part 'mT'"),
        (Record(A, ()), "__class__", "output must have the part '__class__'"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(output, path, match):
    with pytest.raises(ArgumentError, match=match):
        output_part(path)(output)
