"""Checkpoints as small as they come, in bfloat16 and packed as the tiny ones: for sessions and workers that are not
looked at for what their model says. On the CPU MLX takes most of a second of a processor for the tiny model's answer in
each process, and next to nothing for theirs."""

from __future__ import annotations

import functools
from pathlib import Path

import mlx.core as mx

from tests import tiny_models
from tests.conftest import QUIET_ENV

_COMMON = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
_SIZES: dict[str, tuple[str, dict[str, int]]] = {
    "qwen3": ("qwen3_moe", {**_COMMON, "num_experts": 16, "num_experts_per_tok": 8}),
    "glm47": ("glm4_moe_lite", {**_COMMON, "num_experts_per_tok": 4}),
}
"""The architecture, and what replaces its tiny sizes; as many experts a token as the tiny models take, so that mlx-lm
sorts the same prompts."""
LAYERS = 2
"""A dense one and one of experts where the family has both."""


def hosts_of(family: str, site: str) -> int:
    """How many modules hold `combine` or `qkv`."""
    return LAYERS - (family == "glm47" and site == "combine")


@functools.cache
def folder(family: str) -> Path:
    """The checkpoint of a family, made when it is first asked for."""
    name, sizes = _SIZES[family]
    return tiny_models.save(name, Path(QUIET_ENV["TMPDIR"]) / f"small_{family}", mx.bfloat16, **sizes)
