# Set-up, demo and tests, each from a fresh clone with python3 (3.11 or later), pip, make and git.
PYTHON ?= python3
BIN := .venv/bin
# One BLAS thread for each test worker, or the workers fight over the cores.
WORKERS ?= 2

.PHONY: demo paper test lint types unit contracts floor help-texts docs bench clean

demo: .venv/installed
	$(BIN)/diffstab demo

# An hour on two cores; images under DIFFSTAB_DATA, or PAPER=--without-images.
paper: .venv/installed
	$(BIN)/diffstab paper $(PAPER)

test: lint types unit

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed
	$(BIN)/mypy

unit: .venv/installed
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) -m "not slow and not contract"

# Inside other libraries' processes: DDP, loader workers, Dask, command lines. At most 15 minutes.
contracts: .venv/installed
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) -m "contract and not slow"

# The tests with the oldest packages that pyproject.toml allows, in an environment of their own (6 GB).
# Warnings of old packages about each other are no errors there.
FLOOR_TESTS ?= tests/diffeo tests/stability tests/kernels tests/nets tests/sphere tests/datamodules tests/results tests/solvers tests/training tests/experiments tests/l2
floor: .venv/installed
	$(BIN)/uv pip compile -q pyproject.toml --extra all --python-version 3.11 --resolution lowest-direct -o .venv/floor.txt
	$(BIN)/uv venv -q --clear --python $(BIN)/python .venv-floor
	$(BIN)/uv pip install -q --python .venv-floor/bin/python -r .venv/floor.txt "pytest>=8" "pytest-benchmark>=5" "pytest-xdist>=3.6"
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONPATH=. .venv-floor/bin/python -m pytest -q -n $(WORKERS) -W default -m "not slow and not contract" $(FLOOR_TESTS)

# What `--help` shows of the commands with many options; after a change of these or of jsonargparse or Lightning.
help-texts: .venv/installed
	$(BIN)/python -m tests.references.help_texts

# The site into site/; warnings, broken links, and pages that load anything from elsewhere are errors.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # quiet, warnings would be no errors
	@! grep -rnoE '(src|rel="stylesheet" href)="(https?:)?//[^"]*' site --include='*.html'

bench: .venv/installed
	$(BIN)/python -m benchmarks.bench_warp
	$(BIN)/python -m benchmarks.bench_certify
	$(BIN)/python -m benchmarks.bench_gram
	$(BIN)/python -m benchmarks.bench_flow
	$(BIN)/python -m benchmarks.bench_minnorm
	$(BIN)/python -m benchmarks.bench_ridge
	$(BIN)/python -m benchmarks.bench_lazy
	$(BIN)/python -m benchmarks.bench_plateau
	$(BIN)/python -m benchmarks.bench_records
	$(BIN)/python -m benchmarks.bench_sweep
	$(BIN)/python -m benchmarks.bench_layers

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "diffstab needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

clean:
	rm -rf site .venv .venv-floor .mypy_cache .ruff_cache .pytest_cache
