"""The experts' products as mlx-lm's SwitchGLU multiplies them, for the calls that a kernel of packed weights leaves."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from ..packings import Packing
from .cuda_packed import most_slots

SORTED_FROM = 64
"""Gathered rows, counted over tokens and experts, from which SwitchGLU sorts them by expert (mlx-lm 0.32.2): MLX may
then take another kernel, with other bits."""


def most_rows(packing: Packing, n: int, backend: str) -> int:
    """Return how many gathered rows of x a launch serves that multiplies `n` rows of weights with each of them."""
    most = most_slots(packing, n) if backend == "cuda" else None
    return SORTED_FROM - 1 if most is None else most


def gate_and_up(switch: Any, x: mx.array, inds: mx.array) -> mx.array:
    """Return h (B, L, k, I) of x (B, L, D) and inds (B, L, k): SwitchGLU up to its activation."""
    rows = mx.expand_dims(x, (-2, -3))
    if inds.size < SORTED_FROM:
        h: mx.array = switch.activation(switch.up_proj(rows, inds), switch.gate_proj(rows, inds)).squeeze(-2)
        return h
    chosen, order = _sorted(inds)
    rows = rows.flatten(0, -3)[order // inds.shape[-1]]
    up = switch.up_proj(rows, chosen, sorted_indices=True)
    return _back(switch.activation(up, switch.gate_proj(rows, chosen, sorted_indices=True)), order, inds)


def down(switch: Any, h: mx.array, inds: mx.array) -> mx.array:
    """Return y (B, L, k, D) of h (B, L, k, I) and inds (B, L, k): SwitchGLU after its activation."""
    rows = mx.expand_dims(h, -2)
    if inds.size < SORTED_FROM:
        y: mx.array = switch.down_proj(rows, inds).squeeze(-2)
        return y
    chosen, order = _sorted(inds)
    return _back(switch.down_proj(rows.flatten(0, -3)[order], chosen, sorted_indices=True), order, inds)


def _sorted(inds: mx.array) -> tuple[mx.array, mx.array]:
    flat = inds.flatten()
    order = mx.argsort(flat)
    return flat[order], order


def _back(rows: mx.array, order: mx.array, inds: mx.array) -> mx.array:
    return mx.unflatten(rows[mx.argsort(order)], 0, inds.shape).squeeze(-2)
