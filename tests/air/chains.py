"""The unpatched model's steps around its MoE block, as chains of MLX's shipped kernels."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from tests.air import stock, stock_qmv
from tests.air.run import Mac
from tests.air.stock_qmv import Packed
from tests.air.values import cancelling_biases
from tests.kernels import experts

FEW = 5
"""Experts that are packed: a kernel sees one at a time."""


class Switch(NamedTuple):
    """Routed experts, or with weights of two dimensions a dense MLP."""

    gate: Packed
    up: Packed
    down: Packed


def rows_of(
    n: int, k: int, *, dtype: mx.Dtype, seed: int = 0, few: int = FEW, against: mx.array | None = None
) -> Packed:
    """Random rows (few, n, k), or (n, k) with `few` 0; with `against` (k,) rows that nearly cancel against it."""
    shape = (few, n, k) if few else (n, k)
    w, scales, biases = experts.packed(np.random.default_rng(seed), *shape, dtype=dtype)
    if against is not None:
        biases = cancelling_biases(against, experts.nibbles(w), scales, biases)
    return Packed(w, scales, biases)


def switch(
    inner: int, hidden: int, *, dtype: mx.Dtype, seed: int = 0, few: int = FEW, against: mx.array | None = None
) -> Switch:
    """Random experts, or with `few` 0 a dense MLP; gate and up may cancel `against` a vector (hidden,). `down` has rows
    of as many whole groups as `inner` has."""
    gate, up = (rows_of(inner, hidden, dtype=dtype, seed=seed + at, few=few, against=against) for at in (0, 100))
    return Switch(gate, up, rows_of(hidden, max(64, inner // 64 * 64), dtype=dtype, seed=seed + 200, few=few))


def chosen(tokens: tuple[int, int], k: int) -> mx.array:
    """k of the few experts for each of (B, L) tokens, some of them twice, the first and the last among them."""
    some = np.arange(tokens[0] * tokens[1] * k, dtype=np.uint32) * 3 % FEW
    return mx.array(some.reshape(*tokens, k))


def swiglu(mac: Mac, experts: Switch, x: mx.array, inds: mx.array) -> mx.array:
    """x (B, L, D) -> (B, L, k, I): mlx-lm's SwitchGLU before its down projection."""
    expanded = mx.expand_dims(x, (-2, -3))
    gate, up = (stock_qmv.gather(mac, expanded, part, inds) for part in (experts.gate, experts.up))
    return stock.swiglu(mac, gate, up).squeeze(-2)


def combine(mac: Mac, y: mx.array, weights: mx.array) -> mx.array:
    """`(y * weights[..., None]).sum(axis=-2).astype(y.dtype)`: y (B, L, k, D), weights (B, L, k)."""
    wide = y if weights.dtype == y.dtype else stock.astype(mac, y, weights.dtype)
    total = stock.sum_column(mac, stock.binary(mac, "Multiply", wide, weights[..., None]))
    return total if total.dtype == y.dtype else stock.astype(mac, total, y.dtype)


def down(mac: Mac, rows: Packed, h: mx.array, inds: mx.array, weights: mx.array) -> mx.array:
    """h (B, L, k, I) -> (B, L, D): the down projection and the combine."""
    y = stock_qmv.gather(mac, mx.expand_dims(h, -2), rows, inds).squeeze(-2)
    return combine(mac, y, weights)


def dense(mac: Mac, x: mx.array, rows: Packed, generation: int) -> mx.array:
    """x (B, L, K) -> (B, L, N): a quantised linear layer, on a generation of Apple's GPUs."""
    return stock_qmv.dense(mac, x, rows, generation=generation)


def dense_swiglu(mac: Mac, mlp: Switch, x: mx.array, generation: int) -> mx.array:
    """x (B, L, D) -> (B, L, I): a dense MLP before its down projection, on a generation of Apple's GPUs."""
    gate, up = (dense(mac, x, part, generation) for part in (mlp.gate, mlp.up))
    return stock.swiglu(mac, gate, up)


def softmax_router(mac: Mac, gates: mx.array, k: int, normalize: bool) -> tuple[mx.array, mx.array]:
    """Qwen's router after its gate: gates (B, L, E) -> indices and scores (B, L, k)."""
    probabilities = stock.softmax(mac, gates)
    inds = mx.contiguous(stock.argsort(mac, probabilities)[..., -k:])
    scores = mx.take_along_axis(probabilities, inds, axis=-1)  # MLX makes this kernel as it runs: it copies
    if normalize:
        scores = stock.binary(mac, "Divide", scores, stock.sum_row(mac, scores))
    return inds, scores


def sigmoid_router(
    mac: Mac, gates: mx.array, correction: mx.array, scale: float, k: int, normalize: bool
) -> tuple[mx.array, mx.array]:
    """GLM's router after its gate, which mx.compile fuses in part: float32 steps, each stored as float32."""
    sigmoids = stock.unary(mac, "Sigmoid", stock.astype(mac, gates, mx.float32))
    corrected = stock.binary(mac, "Add", sigmoids, mx.broadcast_to(correction, sigmoids.shape))
    inds = mx.contiguous(stock.argsort(mac, stock.unary(mac, "Negative", corrected))[..., :k])
    scores = mx.take_along_axis(sigmoids, inds, axis=-1)
    if normalize:
        total = stock.binary(mac, "Add", stock.sum_row(mac, scores), mx.array([1e-20], mx.float32))
        scores = stock.binary(mac, "Divide", scores, total)
    return inds, stock.binary(mac, "Multiply", scores, mx.array([scale], mx.float32))


def top_k_softmax_router(mac: Mac, gates: mx.array, k: int, scale: mx.array | None) -> tuple[mx.array, mx.array]:
    """gpt-oss's router after its gate; with `scale` (E,) Gemma's, whose softmax rounds every step."""
    inds = mx.contiguous(stock.argsort(mac, gates)[..., -k:])
    scores = stock.softmax(mac, mx.take_along_axis(gates, inds, axis=-1), precise=scale is None)
    return inds, scores if scale is None else stock.binary(mac, "Multiply", scores, scale[inds])


def grouped_router(
    mac: Mac, gates: mx.array, correction: mx.array, scale: float, k: int, groups: int, kept: int
) -> tuple[mx.array, mx.array]:
    """DeepSeek's router after its gate: as GLM's, among the best groups, without what keeps a sum from zero."""
    sigmoids = stock.unary(mac, "Sigmoid", stock.astype(mac, gates, mx.float32))
    corrected = stock.binary(mac, "Add", sigmoids, mx.broadcast_to(correction, sigmoids.shape))
    if kept < groups:
        apart = mx.unflatten(corrected, -1, (groups, -1))
        best = mx.take_along_axis(apart, stock.argsort(mac, apart)[..., -2:], axis=-1)
        order = stock.argsort(mac, stock.sum_row(mac, mx.contiguous(best)).squeeze(-1))
        left = order[..., : groups - kept, None]
        corrected = mx.flatten(mx.put_along_axis(apart, left, mx.array(0.0), axis=-2), -2, -1)
    inds = mx.contiguous(stock.argsort(mac, stock.unary(mac, "Negative", corrected))[..., :k])
    scores = mx.take_along_axis(sigmoids, inds, axis=-1)
    scores = stock.binary(mac, "Divide", scores, stock.sum_row(mac, scores))
    return inds, stock.binary(mac, "Multiply", scores, mx.array([scale], mx.float32))


def own_router(mac: Mac, gates: mx.array, correction: mx.array, scale: float, k: int) -> tuple[mx.array, mx.array]:
    """LFM2's router after its gate: every step but the selection in the gates' own type."""
    sigmoids = stock.unary(mac, "Sigmoid", gates)
    wide = sigmoids if gates.dtype == mx.float32 else stock.astype(mac, sigmoids, mx.float32)
    ranked = stock.binary(mac, "Add", wide, mx.broadcast_to(correction, wide.shape))
    inds = mx.contiguous(stock.argsort(mac, ranked)[..., -k:])
    scores = mx.take_along_axis(sigmoids, inds, axis=-1)
    total = stock.binary(mac, "Add", stock.sum_row(mac, scores), mx.array([1e-6], gates.dtype))
    return inds, stock.binary(
        mac, "Multiply", stock.binary(mac, "Divide", scores, total), mx.array([scale], gates.dtype)
    )
