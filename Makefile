# `make run` sets everything up and does the main job; `make test` sets everything up and passes the tests.
VENV := .venv
PYTHON := $(VENV)/bin/python
ZMLX := $(VENV)/bin/zmlx

.PHONY: setup run test test-slow lint check bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/setup.sh
	bash tools/setup.sh $(VENV)

run: setup
	$(ZMLX) run qwen3 --tokens 200 --runs 3

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

check: setup
	$(ZMLX) check

test: lint check
	$(PYTHON) -m pytest -m "not slow"

test-slow: setup
	$(PYTHON) -m pytest -m slow

bench: setup
	$(PYTHON) benchmarks/against_mlx_lm.py

clean:
	rm -rf $(VENV) build dist
