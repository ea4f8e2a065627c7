"""`diffstab zoo` and `diffstab replay`: rows of measured models, and how they are made again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffstab.errors import ArgumentError


def main(args: Sequence[str]) -> int:
    """Put measured models into a table, and the tables into a document.

    Returns:
        The exit status.
    """
    options = _zoo_parser().parse_args(args)
    from diffstab.zoo import add_rows, write_tables

    if bool(options.results) != (options.to is not None) or not (options.results or options.write):
        raise ArgumentError("zoo", "be given RESULTS and --to TABLE, or --write DOCUMENT", "neither")
    for folder in options.results:
        rows = add_rows(folder, options.to)
        print(f"{options.to}: {len(rows)} models")
    if options.write:
        tables = options.tables or (options.to.parent if options.to else options.write.parent)
        print(f"{options.write}: {write_tables(options.write, tables)} tables")
    return 0


def replay(args: Sequence[str]) -> int:
    """Make rows of a table again.

    Returns:
        The exit status: 1 if a number is another one.
    """
    options = _replay_parser().parse_args(args)
    from diffstab.zoo import TOLERANCE, read_table
    from diffstab.zoo import replay as replay_row

    rows = read_table(options.table).to_dict("records")
    known = [str(row["model"]) for row in rows]
    for model in options.model:
        if model not in known:
            raise ArgumentError("model", f"be one of {', '.join(known)}", repr(model))
    agree = True
    for row in rows:
        if options.model and row["model"] not in options.model:
            continue
        found = replay_row(
            {str(name): value for name, value in row.items()}, data=options.data, weights=options.weights
        )
        agree &= found.agrees
        name, largest = max(found.differences.items(), key=lambda item: item[1])
        wanted = "to the bit" if found.is_same_machine else f"to {TOLERANCE:g}"
        verdict = "the same" if found.agrees else "NOT the same"
        print(f"{found.model}: {verdict} {wanted}; largest relative difference {largest:.1e} ({name})")
    return 0 if agree else 1


def _zoo_parser() -> argparse.ArgumentParser:
    about = (
        "Put measured models into a table of comma-separated values, a row each, and tables into a document."
    )
    parser = argparse.ArgumentParser(prog="diffstab zoo", description=about)
    parser.add_argument("results", nargs="*", type=Path, help="results folders of `diffstab measure`")
    parser.add_argument(
        "--to", type=Path, metavar="TABLE", help="file of the rows; those of other models stay"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="DOCUMENT",
        help="text whose marks <!-- zoo FILE.csv --> are filled anew",
    )
    parser.add_argument(
        "--tables", type=Path, metavar="FOLDER", help="of these files; by default beside the text"
    )
    return parser


def _replay_parser() -> argparse.ArgumentParser:
    about = (
        "Measure the models of a table again, and compare: to the bit with the same versions and machine and a size "
        "of batches in the row, else to 1e-5."
    )
    parser = argparse.ArgumentParser(prog="diffstab replay", description=about)
    parser.add_argument("table", type=Path, help="file that `diffstab zoo` wrote")
    parser.add_argument("--model", nargs="+", default=(), metavar="LABEL", help="only these")
    parser.add_argument("--data", default="", metavar="FOLDER", help="images, where rows name a folder")
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="of the files of weights that rows name"
    )
    return parser
