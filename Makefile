# `make run` sets everything up and does the main job; `make test` sets everything up and passes the tests;
# `make quick` is what to run between two edits.
VENV := .venv
PYTHON := $(VENV)/bin/python
ZMLX := $(VENV)/bin/zmlx
# Three workers for two physical cores (tests/conftest.py); tests/marks.py says which tests one worker must take together.
PYTEST := $(PYTHON) -m pytest -n auto --maxprocesses 12 --dist loadgroup

.PHONY: setup run quick test test-slow lint check bench mutants changelog clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/setup.sh
	bash tools/setup.sh $(VENV)

run: setup
	$(ZMLX) run qwen3 --tokens 200 --runs 3

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

quick: lint
	$(PYTEST) -m "not process and not model and not evidence and not docs and not slow and not gpu"

check: setup
	$(ZMLX) check

test: lint check
	$(PYTEST) -m "not slow"

test-slow: setup
	$(PYTHON) -m pytest -m slow

# Hours, at the lowest priority; goes on where it was interrupted. Not in CI.
mutants: setup
	$(PYTHON) -m pip install --quiet --editable ".[mutants]"
	nice -n 15 $(PYTHON) tools/mutants.py

bench: setup
	$(PYTHON) benchmarks/against_mlx_lm.py

# Before a release: the fragments of changelog.d/ become its section of CHANGELOG.md.
changelog: setup
	$(VENV)/bin/towncrier build --yes

clean:
	rm -rf $(VENV) build dist
