"""Loads the checkpoint that the instructions name."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model

from zmlx_bench.measured import synthetic
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.messages import Instructions, Loaded


def load(instructions: Instructions, family: Family) -> tuple[Any, Loaded]:
    """Return (model, event). No tokenizer is loaded: what is prefilled is told as token ids, and no text is made."""
    start = time.perf_counter()
    if instructions.checkpoint_kind == "synthetic":
        model: Any = synthetic.build(family, instructions.seed, instructions.layers)
    else:
        model, _ = load_model(Path(instructions.path), trust_remote_code=instructions.trust_remote_code)
    mx.synchronize()
    return model, Loaded(
        load_s=time.perf_counter() - start,
        mlx=importlib.metadata.version("mlx"),
        mlx_lm=importlib.metadata.version("mlx-lm"),
    )
