"""A results folder of one configuration, and the names of its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import yaml

from diffstab.errors import ResultsError
from diffstab.results.atomic import write_atomically
from diffstab.results.hashing import canonical_json, config_hash, flatten, plain
from diffstab.results.records import Records
from diffstab.results.yaml_text import dump_yaml, parse_yaml
from diffstab.streams import SCHEME

GRID_KEYS = ("n_train", "seeds", "methods")
LATER: dict[str, object] = {"data.init_args.augmentation": None, "equivariant": False, "grey": False}
"""Options that came after the first records, each with the value that leaves all as it was.

With it an option takes no part in the names of records: those from before it are found.
"""


def record_key(config: Mapping[str, object], cell: Mapping[str, object], *, grid_keys: Sequence[str]) -> str:
    """Return the name of a run: the hash of the configuration outside its grid, of its cell and of `SCHEME`.

    The same run has the same name in every folder, whatever grid it belongs to.

    Args:
        config: Resolved configuration, of plain values.
        cell: What tells the run apart within the grid (seed, method, n_train).
        grid_keys: Dotted keys of the configuration that may grow, as in `RecordStore`.

    Raises:
        ArgumentError: If a value is not plain.
    """
    fixed = _fixed(cast("Mapping[str, object]", plain(config)), grid_keys)
    return config_hash({"config": fixed, "cell": cell, "streams": SCHEME})


class RecordStore(Records):
    """A results folder of one configuration: its records beside `config.yaml`.

    A run is named by the hash of the configuration outside its grid together with its cell, so a larger grid
    keeps the records that are there. Many processes may write to one store.

    Args:
        folder: The results folder; made with its configuration, or opened.
        config: Resolved configuration of all runs, of plain values.
        grid_keys: Dotted keys of the configuration that may grow from one start to the next. Their latest values
            are the ones in `config.yaml`.

    Raises:
        ArgumentError: If the configuration holds a value that is not plain.
        ResultsError: If the folder belongs to another configuration (nothing is touched), is damaged, or cannot
            be written.
    """

    def __init__(
        self, folder: str | Path, config: Mapping[str, object], *, grid_keys: Sequence[str] = GRID_KEYS
    ) -> None:
        super().__init__(folder)
        self.config = cast("dict[str, object]", plain(config))
        self.grid_keys = tuple(grid_keys)
        self._open()

    def key(self, cell: Mapping[str, object]) -> str:
        """Return the name of a run of this configuration; see `record_key`."""
        return record_key(self.config, cell, grid_keys=self.grid_keys)

    def _open(self) -> None:
        check_folder(self.folder, self.config, grid_keys=self.grid_keys)
        path = self.folder / "config.yaml"
        if path.exists() and canonical_json(stored_config(path)) == canonical_json(self.config):
            return
        self._made("records")
        write_atomically(path, dump_yaml(self.config).encode())


def check_folder(
    folder: str | Path, config: Mapping[str, object], *, grid_keys: Sequence[str] = GRID_KEYS
) -> None:
    """Refuse a results folder that belongs to another configuration; nothing is made or changed.

    Args:
        folder: As of `RecordStore`; it need not be there.
        config: As of `RecordStore`.
        grid_keys: As of `RecordStore`.

    Raises:
        ResultsError: If its configuration differs outside the grid, is damaged, or is missing beside records, or if
            its records were drawn by the random streams of another version.
    """
    folder = Path(folder)
    path = folder / "config.yaml"
    if not path.exists():
        if Records(folder).keys():
            message = f"{folder} holds records but no config.yaml."
            raise ResultsError(f"{message} Put its config.yaml back, or choose another results folder.")
        return
    here = _fixed(cast("Mapping[str, object]", plain(config)), grid_keys)
    there = _fixed(stored_config(path), grid_keys)
    differences = [
        f"{name} ({_shown(there, name)} there, {_shown(here, name)} now)"
        for name in sorted(there.keys() | here.keys())
        if _shown(there, name) != _shown(here, name)
    ]
    if differences:
        message = f"{folder} holds results of another configuration; it differs in {'; '.join(differences)}."
        raise ResultsError(f"{message} Choose another results folder, or give the same configuration.")
    _check_streams(folder)


def _check_streams(folder: Path) -> None:
    """Refuse a folder whose records another version of the streams has drawn: their seeds stand for other draws."""
    found = Records(folder).streams()
    if found not in (None, SCHEME):
        message = f"The records of {folder} were drawn by random streams of version {found}, those of now are {SCHEME}"
        raise ResultsError(f"{message}: a seed gives other draws. Choose another results folder.")


def _fixed(config: Mapping[str, object], grid_keys: Sequence[str]) -> dict[str, object]:
    return {
        name: value
        for name, value in flatten(config).items()
        if not _is_under(name, grid_keys) and not (name in LATER and value == LATER[name])
    }


def stored_config(path: Path) -> Mapping[str, object]:
    """Return the configuration that a results folder holds.

    Raises:
        ResultsError: If the file cannot be read or is no mapping.
    """
    way_out = "Put a good copy back, or choose another results folder."
    try:
        config = parse_yaml(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ResultsError(f"{path} is damaged ({error}). {way_out}") from error
    if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
        raise ResultsError(f"{path} is damaged. {way_out}")
    return config


def _is_under(name: str, grid_keys: Sequence[str]) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in grid_keys)


def _shown(leaves: Mapping[str, object], name: str) -> str:
    return canonical_json(leaves[name]) if name in leaves else "nothing"
