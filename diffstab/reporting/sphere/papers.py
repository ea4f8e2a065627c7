"""Single figures and tables of a folder of learning curves, for a paper."""

from pathlib import Path

from diffstab.reporting.document import Picture
from diffstab.reporting.papers import write_figure
from diffstab.reporting.sphere import pictures
from diffstab.reporting.sphere.exponents import exponent_rows, exponent_table
from diffstab.reporting.tables import tidy_records
from diffstab.results import read_records, write_atomically


def write_learning_curves(folder: str | Path) -> list[Path]:
    """Write ``figures/<target>-learning-curves.png`` and ``.pdf`` for every target of a results folder.

    Args:
        folder: Results folder.

    Returns:
        The paths.

    Raises:
        ResultsError: There are no records, or the files cannot be written.
    """
    frame = tidy_records(read_records(folder))
    rows = exponent_rows(frame)
    drawn = [pictures.learning_picture(part, rows) for _, part in frame.groupby("target", sort=True)]
    return _written(folder, drawn)


def write_predictors(folder: str | Path) -> list[Path]:
    """Write predictors on the circle and neurons on circle and 2-sphere to ``figures/``, as PNG and PDF.

    Args:
        folder: Results folder.

    Returns:
        The paths; none where no run recorded its predictor (d = 2 and 3, first seed, do).

    Raises:
        ResultsError: There are no records, or the files cannot be written.
    """
    drawn = []
    for _, part in tidy_records(read_records(folder)).groupby("target", sort=True):
        drawn.append(pictures.circle_picture(part))
        drawn += [pictures.neurons_picture(part, dimension=dimension) for dimension in (2, 3)]
    return _written(folder, [picture for picture in drawn if picture is not None])


def write_exponents(folder: str | Path) -> Path:
    """Write ``exponents.csv``: the table of the page, with its texts.

    Args:
        folder: Results folder.

    Returns:
        Its path.

    Raises:
        ResultsError: There are no records, or the file cannot be written.
    """
    table = exponent_table(exponent_rows(tidy_records(read_records(folder))))
    lines = [",".join(f'"{text}"' for text in table.headers)]
    lines += [",".join(f'"{cell.text}"' for cell in row) for row in table.rows]
    return write_atomically(Path(folder) / "exponents.csv", "\n".join([*lines, ""]).encode("utf-8"))


def _written(folder: str | Path, drawn: list[Picture]) -> list[Path]:
    return [path for picture in drawn for path in write_figure(folder, picture.stem, picture.rendered)]
