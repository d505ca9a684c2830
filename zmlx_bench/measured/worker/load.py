"""Loads the checkpoint that the instructions name, and turns prompts into token ids."""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model
from mlx_lm.utils import load_tokenizer as mlx_load_tokenizer

from zmlx_bench.measured import synthetic
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.messages import Instructions, Loaded, Prompt


def load(instructions: Instructions, family: Family) -> tuple[Any, Any, Loaded]:
    """Return (model, tokenizer, event); end-of-text is taken out of the tokenizer so that budgets are filled."""
    start = time.perf_counter()
    folder = Path(instructions.path)
    if instructions.checkpoint_kind == "synthetic":
        model = synthetic.build(family, instructions.seed, instructions.layers)
    else:
        model, _ = load_model(folder, trust_remote_code=instructions.trust_remote_code)
    tokenizer = mlx_load_tokenizer(folder, {"trust_remote_code": instructions.trust_remote_code})
    tokenizer.eos_token_ids = ()
    mx.synchronize()
    return (
        model,
        tokenizer,
        Loaded(
            load_s=time.perf_counter() - start,
            mlx=importlib.metadata.version("mlx"),
            mlx_lm=importlib.metadata.version("mlx-lm"),
            chat_template=bool(tokenizer.has_chat_template),
        ),
    )


def encode(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Return the prompt's token ids, with the chat template where the tokenizer has one."""
    if tokenizer.has_chat_template:
        message = [{"role": "user", "content": prompt.text}]
        ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True)
        return [int(i) for i in ids]
    return [int(i) for i in tokenizer.encode(prompt.text)]
