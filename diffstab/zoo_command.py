"""`diffstab zoo` and `diffstab replay`: rows of measured models, and how they are made again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffstab.errors import ArgumentError
from diffstab.shipped import check_data_modules


def main(args: Sequence[str]) -> int:
    """Put measured models into a table, and the tables into a document; train the nets of a table first.

    Returns:
        The exit status.
    """
    options = _zoo_parser().parse_args(args)
    from diffstab.zoo.rows import add_rows, zoo_rows
    from diffstab.zoo.tables import write_tables

    given = bool(options.results) or bool(options.train)
    if (bool(options.results) and options.to is None) or not (given or options.write):
        condition = "be given RESULTS and --to TABLE, --train SWEEP, or --write DOCUMENT"
        raise ArgumentError("zoo", condition, "none of these" if options.to is None else "--to alone")
    if options.train:
        options.to = options.to or _train_folder(options) / "nets.csv"
        _train(options, options.to)
    for folder in options.results:
        rows = add_rows(zoo_rows(folder), options.to)
        print(f"{options.to}: {len(rows)} models")
    if options.write:
        tables = options.tables or (options.to.parent if options.to else options.write.parent)
        print(f"{options.write}: {write_tables(options.write, tables)} tables")
    return 0


def _train_folder(options: argparse.Namespace) -> Path:
    return options.folder or Path("results") / f"zoo_{options.train[0].stem}"


def _train(options: argparse.Namespace, table: Path) -> None:
    """Train the nets of sweeps, measure them, and fit and draw their law."""
    check_data_modules()
    import pandas as pd

    from diffstab.zoo.law import measured, write_law
    from diffstab.zoo.rows import add_rows
    from diffstab.zoo.training import train

    folder, protocols, rows = _train_folder(options), options.protocol, []
    nets = [net for one in options.train for net in train(one, folder / one.stem, workers=options.workers)]
    for row in measured(nets, protocols, folder):
        print(_line(row), flush=True)
        rows.append(row)
    print(f"{table}: {len(add_rows(pd.DataFrame(rows), table))} rows")
    text, files = write_law(table, protocol=protocols[0])
    print(text, *files, sep="\n")


def _line(row: Mapping[str, Any]) -> str:
    numbers = ", ".join(
        f"{name} {row[name]:.3g} [{row[f'{name}_low']:.3g}, {row[f'{name}_high']:.3g}]" for name in "DGR"
    )
    return f"{row['model']} (protocol {row['protocol']}): test error {row['test_error']:.3f}, {numbers}"


def replay(args: Sequence[str]) -> int:
    """Make rows of a table again.

    Returns:
        The exit status: 1 if a number is another one.
    """
    options = _replay_parser().parse_args(args)
    from diffstab.zoo.replaying import TOLERANCE
    from diffstab.zoo.replaying import replay as replay_row
    from diffstab.zoo.rows import read_table

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
        "Put measured models into a table of comma-separated values, a row each, and tables into a document. With "
        "--train: train the nets of sweeps first, and fit and draw test error against R, D and G over them."
    )
    parser = argparse.ArgumentParser(prog="diffstab zoo", description=about)
    add = parser.add_argument
    add("results", nargs="*", type=Path, help="results folders of `diffstab measure`")
    add(
        "--train",
        nargs="+",
        type=Path,
        metavar="SWEEP",
        default=(),
        help="sweeps of `diffstab fit`, YAML files",
    )
    add("--to", type=Path, metavar="TABLE", help="file of the rows; those of other models stay")
    protocols = "what trained nets are measured under, the first is fitted (1)"
    add("--protocol", nargs="+", default=["1"], choices=("1", "2021"), help=protocols)
    add("--workers", type=int, help="processes that train; by default one per core")
    add("--folder", type=Path, help="results folder of --train (results/zoo_<name of the first sweep>)")
    add(
        "--write",
        type=Path,
        metavar="DOCUMENT",
        help="text whose marks <!-- zoo FILE.csv --> are filled anew",
    )
    add("--tables", type=Path, metavar="FOLDER", help="of these files; by default beside the text")
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
