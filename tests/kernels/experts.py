"""Quantised experts and shared experts at the models' shapes with random weights, and what they compute in float64."""

from __future__ import annotations

import functools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
from mlx_lm.models.glm4_moe_lite import Glm4MoeLiteMLP
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchGLU

Doubles = npt.NDArray[np.float64]

HIDDEN, GROUP, BITS = 2048, 64, 4
SHAPES = {"qwen3": (128, 8, 768), "glm47": (64, 4, 1536)}
"""Experts, experts a token, intermediate size of an expert."""
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
KINDS = ("normal", "saturating", "tiny", "zero", "one", "huge", "not finite")


def packed(rng: np.random.Generator, *shape: int, dtype: mx.Dtype) -> tuple[mx.array, mx.array, mx.array]:
    """Random 4-bit rows (..., N, K): words, scales and biases, of values about 0.02."""
    *rows, k = shape
    weight = mx.array(rng.integers(0, 2**32, size=(*rows, k * BITS // 32), dtype=np.uint32))
    scales = rng.choice([-1.0, 1.0], size=(*rows, k // GROUP)) * rng.uniform(0.001, 0.006, size=(*rows, k // GROUP))
    biases = -7.5 * scales + rng.normal(size=scales.shape) * 0.002
    return weight, *(mx.array(part.astype(np.float32)).astype(dtype) for part in (scales, biases))


def _fill(layer: Any, parts: tuple[mx.array, mx.array, mx.array]) -> Any:
    layer.weight, layer.scales, layer.biases = parts
    mx.eval(layer.parameters())
    return layer


@functools.lru_cache(maxsize=2)
def _projections(*shapes: tuple[int, ...], dtype: mx.Dtype, seed: int) -> list[tuple[mx.array, mx.array, mx.array]]:
    rng = np.random.default_rng(seed)
    return [packed(rng, *shape, dtype=dtype) for shape in shapes]


def block(
    experts: int, inner: int, *, hidden: int = HIDDEN, dtype: mx.Dtype = mx.bfloat16, seed: int = 0
) -> SimpleNamespace:
    """A MoE block as far as its routed experts go: `switch_mlp` is a SwitchGLU of quantised experts."""
    rows, columns = (experts, inner, hidden), (experts, hidden, inner)
    switch = SwitchGLU(GROUP, 8, 1)
    for name, parts in zip(PROJECTIONS, _projections(rows, rows, columns, dtype=dtype, seed=seed), strict=True):
        layer = QuantizedSwitchLinear(GROUP, 8, 1, bias=False, group_size=GROUP, bits=BITS)
        switch[name] = _fill(layer, parts)
    return SimpleNamespace(switch_mlp=switch, sharding_group=None)


def shared_mlp(inner: int, *, hidden: int = HIDDEN, dtype: mx.Dtype = mx.bfloat16, seed: int = 0) -> Any:
    """GLM's shared expert, quantised."""
    rows, columns = (inner, hidden), (hidden, inner)
    mlp = Glm4MoeLiteMLP(SimpleNamespace(hidden_size=GROUP, intermediate_size=8))
    for name, parts in zip(PROJECTIONS, _projections(rows, rows, columns, dtype=dtype, seed=seed), strict=True):
        layer = nn.QuantizedLinear(GROUP, 8, bias=False, group_size=GROUP, bits=BITS)
        mlp[name] = _fill(layer, parts)
    return mlp


def activations(kind: str, *shape: int, dtype: mx.Dtype = mx.bfloat16, seed: int = 0) -> mx.array:
    """Values of the last axis in a row each: see KINDS; `huge` overflows the sums of a half or of the float32 sums."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    if kind == "zero":
        values = np.zeros(shape)
    elif kind == "one":
        at = rng.integers(0, shape[-1], size=(*shape[:-1], 1))
        values = np.where(np.arange(shape[-1]) == at, values, -0.0)
    elif kind == "not finite":
        values[..., 5], values[..., 100] = np.inf, np.nan
    else:
        largest = 3e4 if dtype == mx.float16 else 1e37
        values *= {"normal": 1.0, "saturating": 60.0, "tiny": 1e-4, "huge": largest}[kind]
    limit = 6e4 if dtype == mx.float16 else 3e38
    clipped = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
    return mx.array(clipped.astype(np.float32)).astype(dtype)


def routes(tokens: tuple[int, int], experts: int, k: int, seed: int = 0) -> mx.array:
    """Distinct experts for each of (B, L) tokens; the first and the last expert are among them."""
    rng = np.random.default_rng(seed)
    chosen = np.stack([rng.permutation(experts)[:k] for _ in range(tokens[0] * tokens[1])])
    if k <= experts and k > 1:
        others = [e for e in chosen[0] if e not in (0, experts - 1)][: k - 2]
        chosen[0] = rng.permutation([0, experts - 1, *others])
    return mx.array(chosen.astype(np.uint32)).reshape(*tokens, k)


def weights(tokens: tuple[int, int], k: int, dtype: mx.Dtype, seed: int = 0) -> mx.array:
    """Scores (B, L, k) of a router."""
    rng = np.random.default_rng(seed)
    return mx.array(rng.random((*tokens, k)).astype(np.float32)).astype(dtype)


def doubles(x: mx.array) -> Doubles:
    return np.array(x.astype(mx.float32)).astype(np.float64)


def nibbles(words: mx.array) -> npt.NDArray[np.uint8]:
    """Packed words (..., K / 8) as numbers 0 to 15 (..., K), the lowest bits first."""
    packed = np.array(words).view(np.uint8)
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def unpacked(layer: Any, expert: int | None = None) -> tuple[Doubles, Doubles]:
    """The rows (N, K) of a layer or of one of its experts, and |scale| * q + |bias|, which bounds their terms."""
    parts = [layer[name] if expert is None else layer[name][expert] for name in ("weight", "scales", "biases")]
    q = nibbles(parts[0]).astype(np.float64)
    groups = q.reshape(len(q), -1, GROUP)
    scale, bias = (doubles(part)[..., None] for part in parts[1:])
    return (scale * groups + bias).reshape(q.shape), (np.abs(scale) * groups + np.abs(bias)).reshape(q.shape)


def exact(x: Doubles, layer: Any, expert: int | None = None) -> tuple[Doubles, Doubles]:
    """x (..., K) times the rows, in float64, and the sum of the terms' sizes, by which float32 sums may err."""
    rows, sizes = unpacked(layer, expert)
    return x @ rows.T, np.abs(x) @ sizes.T


def exact_swiglu(x: Doubles, mlp: Any, expert: int | None = None) -> tuple[Doubles, Doubles]:
    """silu(gate) * up of x (..., D) -> (..., I) in float64, and how much sums that err by their size change it."""
    gate, gate_size = exact(x, mlp["gate_proj"], expert)
    up, up_size = exact(x, mlp["up_proj"], expert)
    silu = gate / (1.0 + np.exp(-gate))
    # The derivative of silu lies between -0.1 and 1.1.
    return silu * up, 1.1 * gate_size * np.abs(up) + np.abs(silu) * up_size


def mutated(launch: Any, right: str, wrong: str) -> Any:
    """Return the launch with one place of its source or header changed; the text must stand there exactly once."""
    source = launch.source
    assert (source.header + source.body).count(right) == 1, right
    return launch._replace(
        source=replace(source, header=source.header.replace(right, wrong), body=source.body.replace(right, wrong))
    )
