"""Checkpoints as small as they come, in bfloat16 and 4 bits: for sessions and workers that are not
looked at for what their model says. On the CPU MLX takes most of a second of a processor for the tiny model's answer in
each process, and next to nothing for theirs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import mlx.core as mx

from tests import tiny_models
from tests.conftest import QUIET_ENV

_SIZES: dict[str, tuple[str, dict[str, float]]] = {
    "qwen3": ("qwen3_moe", {"hidden_size": 64, "num_experts": 16, "num_experts_per_tok": 8}),
    "glm47": ("glm4_moe_lite", {"hidden_size": 64, "num_experts_per_tok": 4, "routed_scaling_factor": 1.8}),
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
    made = tiny_models.save(name, Path(QUIET_ENV["TMPDIR"]) / f"small_{family}", mx.bfloat16, **sizes)
    _draw_vectors(made / "model.safetensors")
    return made


def _draw_vectors(path: Path) -> None:
    """Draw the norms and the router's bias, which are otherwise float32 and alike: one in another's place, or none at
    all, would change no bit, and the norms' type would be the activations'."""
    weights: Any = mx.load(str(path))
    for name, vector in weights.items():
        if vector.ndim == 1:
            dtype = mx.bfloat16 if name.endswith("norm.weight") else mx.float32
            weights[name] = mx.random.uniform(0.5, 1.5, vector.shape).astype(dtype)
    mx.eval(weights)  # before the file that they are read from is written anew
    mx.save_safetensors(str(path), weights, {"format": "mlx"})
