"""Records on a disk that is really full, and on one that is really read-only."""

import re

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from diffstab.errors import ResultsError
from diffstab.results import Failure, Records, RecordStore

def tried(work):
    try:
        work()
    except ResultsError as error:
        return str(error).replace(sys.argv[1], "")
    return "done"

store = RecordStore(Path(sys.argv[1]) / "results", {"alpha": 1})
written = 0
while (answer := tried(lambda: store.write(f"k{written:03d}", {"number": written}))) == "done":
    written += 1
print(answer)
print(store.read()["number"].tolist() == list(range(written)), written > 5)
print(tried(lambda: store.fail("other", Failure("no"))))
print(tried(store.pack))
print(store.read()["number"].tolist() == list(range(written)))
# With a little room the records are packed, and there is much of it.
store.remove(["k000", "k001", "k002", "k003"])
print(store.pack() == written - 4, sorted(os.listdir(store.folder / "claims")))
print(tried(lambda: store.write("k000", {"number": 0})))

subprocess.run(sys.argv[2], shell=True, check=True)
work = {
    "write": lambda: store.write("new", {"number": 0}),
    "claim": lambda: store.claim("new").__enter__(),
    "fail": lambda: store.fail("new", Failure("no")),
    "remove": lambda: store.remove(["k000"]),
    "pack": store.pack,
    "open": lambda: RecordStore(store.folder, {"alpha": 1}),
    "another": lambda: RecordStore(store.folder.with_name("another"), {"alpha": 1}),
}
for name, step in work.items():
    print(name, tried(step))
print(len(store.read()) == written - 3, store.failures(), store.claimed(), store.missing(["k000", "new"]))
"""


def test_a_full_disk_and_a_read_only_one(on_small_disk):
    lines = on_small_disk(SCRIPT).splitlines()
    untouched = "What was there before is untouched. Free space or permissions, then start again."
    full = f"No space left on device. {untouched}"
    no_write, no_lock = (
        f"Read-only file system. {untouched}",
        "Read-only file system. Free space or permissions,",
    )
    expected = [
        (r"Cannot write /results/records/k\d+\.parquet: ", full),
        ("True True", ""),
        ("Cannot write /results/failures/other.json: ", full),
        (r"Cannot write /results/packs/\w+\.parquet: ", full),
        ("True", ""),
        (r"True \[\]", ""),
        ("done", ""),
        (r"write Cannot write /results/records/new\.parquet: ", no_write),
        (r"claim Cannot lock /results/claims/new\.lock: ", no_lock),
        (r"fail Cannot write /results/failures/new\.json: ", no_write),
        (r"remove Cannot lock /results/claims/\.packing: ", no_lock),
        (r"pack Cannot lock /results/claims/\.packing: ", no_lock),
        ("open done", ""),
        ("another Cannot make the results folder /another: Read-only file system", ""),
        (r"True {} set\(\) \['new'\]", ""),
    ]
    for line, (start, rest) in zip(lines, expected, strict=True):
        assert re.match(start + re.escape(rest), line), line
