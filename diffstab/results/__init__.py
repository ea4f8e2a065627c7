"""Results on disk: one record per run, written atomically and keyed by its configuration, read as a tidy frame."""

from diffstab.results.atomic import write_arrays, write_atomically
from diffstab.results.config_files import INCLUDE, read_config
from diffstab.results.failures import Failure
from diffstab.results.hashing import canonical_json, config_hash, flatten
from diffstab.results.provenance import Provenance, provenance
from diffstab.results.records import Records, read_records
from diffstab.results.store import GRID_KEYS, RecordStore, check_folder, record_key, stored_config
from diffstab.results.times import run_seconds, wall_seconds
from diffstab.results.yaml_text import dump_yaml, parse_yaml

__all__ = [
    "GRID_KEYS",
    "INCLUDE",
    "Failure",
    "Provenance",
    "RecordStore",
    "Records",
    "canonical_json",
    "check_folder",
    "config_hash",
    "dump_yaml",
    "flatten",
    "parse_yaml",
    "provenance",
    "read_config",
    "read_records",
    "record_key",
    "run_seconds",
    "stored_config",
    "wall_seconds",
    "write_arrays",
    "write_atomically",
]
