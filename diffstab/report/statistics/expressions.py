"""Small expressions over the columns of records: names, numbers and + - * /."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffstab.errors import ArgumentError, ResultsError

_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def columns_of(expression: str) -> set[str]:
    """Return the columns that an expression names.

    Raises:
        ArgumentError: If it is no such expression.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise ArgumentError("value", "be an expression over columns", repr(expression)) from error
    return _columns(tree, expression)


def _columns(node: ast.AST, expression: str) -> set[str]:
    match node:
        case ast.Name(id=name):
            return {name}
        case ast.Constant(value=int() | float()):
            return set()
        case ast.BinOp(left, operation, right) if type(operation) in _OPERATIONS:
            return _columns(left, expression) | _columns(right, expression)
        case ast.UnaryOp(ast.USub(), operand):
            return _columns(operand, expression)
        case _:
            raise ArgumentError("value", "be made of columns, numbers and + - * /", repr(expression))


def evaluate(expression: str, values: Mapping[Any, Any] | Any) -> Any:
    """Return the value of an expression on a frame or a row of records.

    Args:
        expression: Checked by `columns_of`.
        values: Gives a column, or a number, by its name.

    Raises:
        ResultsError: If a column is not there.
    """
    if absent := sorted(name for name in columns_of(expression) if name not in values):
        raise ResultsError(f"The records have no column {', '.join(absent)}.")
    with np.errstate(divide="ignore", invalid="ignore"):
        return _value(ast.parse(expression, mode="eval").body, values)


def _value(node: ast.AST, values: Any) -> Any:
    match node:
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=number):
            return number
        case ast.BinOp(left, operation, right):
            return _OPERATIONS[type(operation)](_value(left, values), _value(right, values))
        case ast.UnaryOp(operation, operand):
            return _OPERATIONS[type(operation)](_value(operand, values))
    raise AssertionError("columns_of lets nothing else pass")
