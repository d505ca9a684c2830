"""Loads the checkpoint that the instructions name."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model, load_tokenizer

from zmlx_bench.measured import synthetic
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.messages import Instructions, Loaded


def load(instructions: Instructions, family: Family, *, text: bool) -> tuple[Any, Any, Loaded]:
    """Return (model, tokenizer, event).

    The tokenizer is None unless `text` is wanted; end-of-text is taken out of it so that budgets are filled.
    """
    start = time.perf_counter()
    folder = Path(instructions.path)
    code = instructions.trust_remote_code
    if instructions.checkpoint_kind == "synthetic":
        model = synthetic.build(family, instructions.seed, instructions.layers)
    else:
        model, _ = load_model(folder, trust_remote_code=code)
    tokenizer = load_tokenizer(folder, {"trust_remote_code": code}) if text else None
    if tokenizer is not None:
        tokenizer.eos_token_ids = ()
    mx.synchronize()
    return (
        model,
        tokenizer,
        Loaded(
            load_s=time.perf_counter() - start,
            mlx=importlib.metadata.version("mlx"),
            mlx_lm=importlib.metadata.version("mlx-lm"),
        ),
    )
