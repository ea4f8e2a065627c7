"""Small expressions over the columns of records: names, numbers and + - * /."""

from __future__ import annotations

import ast
from typing import Any

import pandas as pd

from diffstab.errors import ArgumentError, ResultsError

_ALLOWED = (ast.Expression, ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.USub, ast.Load)


def columns_of(expression: str) -> set[str]:
    """Return the columns that an expression names.

    Raises:
        ArgumentError: If it is made of anything but names, numbers and + - * /.
    """
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except SyntaxError as error:
        raise ArgumentError("value", "be an expression over columns", repr(expression)) from error
    numbers = [node.value for node in nodes if isinstance(node, ast.Constant)]
    is_small = all(isinstance(node, _ALLOWED) and not isinstance(node, ast.Pow) for node in nodes)
    if not is_small or not all(isinstance(number, int | float) for number in numbers):
        raise ArgumentError("value", "be made of columns, numbers and + - * /", repr(expression))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def evaluate(expression: str, records: pd.DataFrame) -> Any:
    """Return the value of an expression on each row of records, or its one number where it names no column.

    Raises:
        ArgumentError: As `columns_of` does.
        ResultsError: If a column is not there.
    """
    if absent := sorted(columns_of(expression) - set(records)):
        raise ResultsError(f"The records have no column {', '.join(absent)}.")
    return records.eval(expression, engine="python")
