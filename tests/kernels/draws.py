"""Inputs at the models' shapes for the GPU kernels, and what a combine of them is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from tests.kernels.bf16 import Floats, read, rounded

HIDDEN = 2048
QWEN, GLM = (128, 8), (64, 4)
EXPERTS = {"qwen3": (8, mx.bfloat16), "glm47": (4, mx.float32)}
KIND = {"qwen3": "softmax", "glm47": "sigmoid_bias"}
"""What kind of router each family has."""
"""Experts a token and the dtype of their scores."""


def combine_inputs(
    family: str, batch: int, length: int = 1, d: int = HIDDEN, seed: int = 0
) -> tuple[mx.array, mx.array]:
    k, dtype = EXPERTS[family]
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(batch, length, k, d)) * 2.0 ** rng.integers(-4, 5, size=(batch, length, k, 1))
    scores = rng.random((batch, length, k))
    return mx.array(y.astype(np.float32)).astype(mx.bfloat16), mx.array(scores.astype(np.float32)).astype(dtype)


def combined(mode: str, y: mx.array, scores: mx.array) -> Floats:
    """The mode's roundings in NumPy, on float32."""
    to_y = mode == "bf16_rounded" or (mode == "stock" and scores.dtype == y.dtype)
    step: Callable[[Any], Floats] = rounded if to_y else lambda x: np.asarray(x, np.float32)
    weights = step(read(scores))
    total = np.zeros((*y.shape[:2], y.shape[3]), np.float32)
    for e in range(y.shape[2]):
        exact = read(y)[:, :, e].astype(np.float64) * weights[:, :, e, None]
        if mode == "fp32":
            total = (total.astype(np.float64) + exact).astype(np.float32)
        else:
            total = step(total + step(exact.astype(np.float32)))
    return rounded(total)


def gates(kind: str, tokens: int, experts: int, seed: int = 0) -> mx.array:
    """Gates of a token each: spread out, nearly flat (so that probabilities tie), all equal, or extreme."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(tokens, 1, experts)) * {"spread": 3.0, "flat": 0.01, "equal": 0.0, "extreme": 1e4}[kind]
    return mx.array(values.astype(np.float32)).astype(mx.bfloat16)
