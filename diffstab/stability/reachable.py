"""What a callable holds: the objects of a kind behind closures, partials, bound methods, attributes and containers."""

import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Kind = TypeVar("Kind")

_OBJECTS = 4000  # at most so many are looked at, the nearest first
_CHILDREN = 1000  # at most so many of each
_LEAVES = (str, bytes, bytearray, int, float, complex, type, Tensor, np.ndarray, np.generic, type(None))
_LIBRARIES = ("builtins", "torch", "pytorch_lightning", "lightning", "kornia", "numpy", "sklearn")
_METHODS = (types.FunctionType, staticmethod, classmethod)


def reachable(start: object, kind: type[Kind]) -> list[Kind]:
    """Return the objects of a type that a callable can reach, the nearest first; a bounded search.

    It follows closures, defaults, `functools.partial`, bound methods, wrapped functions, attributes, slots, lists,
    tuples, sets and dicts, and the global variables that a function names.
    """
    waiting, seen, found = deque([start]), {id(start)}, []
    kept = [start]  # so that no id is used twice while searching
    for _ in range(_OBJECTS):
        if not waiting:
            break
        current = waiting.popleft()
        if isinstance(current, kind):
            found.append(current)
        for child in islice(_children(current), _CHILDREN):
            if not isinstance(child, _LEAVES) and id(child) not in seen:
                seen.add(id(child))
                kept.append(child)
                waiting.append(child)
    return found


def _children(parent: Any) -> Iterator[object]:
    if isinstance(parent, dict):
        yield from list(parent.values())
    elif isinstance(parent, (list, tuple, set, frozenset, deque)):
        yield from list(parent)
    elif isinstance(parent, types.FunctionType):
        yield from _of_function(parent)
    elif isinstance(parent, types.MethodType):
        yield from (parent.__self__, parent.__func__)
    elif isinstance(parent, (staticmethod, classmethod)):
        yield parent.__func__
    elif isinstance(parent, functools.partial):
        yield from (parent.func, parent.args, parent.keywords, vars(parent))
    elif isinstance(parent, types.BuiltinMethodType):
        yield parent.__self__
    elif not isinstance(parent, (types.ModuleType, types.CodeType, torch.Generator)):
        yield from _of_instance(parent)


def _of_function(function: types.FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()  # what decorators leave, __wrapped__ say
    names = set(_names(function.__code__))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):  # models.net: the attributes that the function names
            yield from (vars(value)[attribute] for attribute in names & vars(value).keys())
        else:
            yield value


def _names(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _of_instance(instance: object) -> Iterator[object]:
    yield from list(getattr(instance, "__dict__", {}).values())
    for owner in type(instance).__mro__:
        slots = vars(owner).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(instance, name, None)
    # Its methods may name global variables; those of libraries do not lead to a user's modules.
    for owner in type(instance).__mro__:
        if not owner.__module__.startswith(_LIBRARIES):
            yield from (part for part in vars(owner).values() if isinstance(part, _METHODS))
