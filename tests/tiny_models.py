"""`benchmarks/tiny_models.py` and `any_models.py`, imported as their command imports them, and checkpoints of them."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx

from tests.families import family
from tests.tiny import Tiny
from zmlx_bench.catalog import families
from zmlx_bench.checkpoints.resolve import TOKENIZER

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
WORDS = {"vocab_size": 1600}
"""As the tokenizer has them."""


def module(name: str) -> ModuleType:
    """The module of `benchmarks/` that is called so."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


def model(name: str, **sizes: Any) -> Tiny:
    """A random model of an architecture in this process, with the structural family."""
    mx.set_default_device(mx.cpu)
    made = module("tiny_models").build(name, sizes)
    return Tiny(family(families.ANY), made, len(made.layers), 0)


def save(name: str, folder: Path, dtype: mx.Dtype = mx.float32, **sizes: Any) -> Path:
    """Write a random checkpoint of an architecture with a tokenizer to `folder`, which is made."""
    mx.set_default_device(mx.cpu)
    folder.mkdir(parents=True)
    module("tiny_models").save(name, folder, {**WORDS, **sizes}, dtype)
    for path in TOKENIZER.iterdir():
        shutil.copy(path, folder)
    return folder
