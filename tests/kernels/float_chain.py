"""How MLX 0.32.4 multiplies rows of packed floats on CUDA, rounding by rounding, in NumPy."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from tests.kernels import bf16
from tests.kernels.bf16 import Floats
from tests.kernels.experts import activations
from tests.kernels.rows import butterfly_sum, libm, serial_sum

LANES = 32
SIZES_OF_4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


class Packed(NamedTuple):
    """Rows (..., N, K) as a kernel takes them and what their codes and scales (..., N, K) say."""

    words: mx.array
    codes_of_scales: mx.array
    values: Floats
    scales: Floats


def e4m3(codes: npt.NDArray[Any]) -> Floats:
    """Sign, four bits of exponent, three of fraction, no NaN among them."""
    exponent, fraction = (codes >> 3) & 15, (codes & 7) / 8
    size = np.where(exponent == 0, fraction * 2.0**-6, (1 + fraction) * 2.0 ** (exponent.astype(float) - 7))
    return np.where(codes & 128, -size, size).astype(np.float32)


def mirrored_rows(packing: Any, *rows: int, k: int, seed: int) -> Packed:
    """Every code of the packing but a NaN, and scales of some size; the second half of a row is the first, reversed."""
    rng = np.random.default_rng(seed)
    group, bits, _ = packing
    first, last = (1, 40) if group == 16 else (118, 124)
    codes = _mirrored(rng.integers(0, 2**bits, size=(*rows, k // 2), dtype=np.uint8))
    scales = _mirrored(rng.integers(first, last, size=(*rows, k // group // 2), dtype=np.uint8))
    if bits == 8:
        codes[(codes & 127) == 127] = 1
        packed, values = codes, e4m3(codes)
    else:
        packed = codes[..., 0::2] | (codes[..., 1::2] << 4)
        values = np.where(codes & 8, -SIZES_OF_4[codes & 7], SIZES_OF_4[codes & 7])
    floats = e4m3(scales) if group == 16 else np.exp2(scales.astype(np.float32) - 127)
    return Packed(mx.array(packed.view(np.uint32)), mx.array(scales), values, np.repeat(floats, group, axis=-1))


def _mirrored(half: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([half, half[..., ::-1]], axis=-1)


def cancelling(*shape: int, dtype: mx.Dtype) -> mx.array:
    """Vectors whose second half is the first, reversed and negated.

    Times mirrored rows they are 0 but for the roundings on the way, all of which a sum of 16 bits then shows.
    """
    half = activations("normal", *shape[:-1], shape[-1] // 2, dtype=dtype)
    return mx.concatenate([half, -half[..., ::-1]], axis=-1)


def fused(a: Floats, b: Floats, c: Floats) -> npt.NDArray[np.float64]:
    """a * b + c, rounded to odd in float64: rounding it to any shorter type is one rounding.

    a * b has to be exact in float64.
    """
    product, c = a.astype(np.float64) * b, c.astype(np.float64)
    total = product + c
    back = total - product
    lost = (product - (total - back)) + (c - back)
    even = total.view(np.int64) % 2 == 0
    return np.where((lost != 0) & even, np.nextafter(total, np.where(lost > 0, np.inf, -np.inf)), total)


def nearest(x: npt.NDArray[Any], dtype: mx.Dtype) -> Floats:
    """The nearest number of `dtype` to each float32, or to each float64 that is exact or odd."""
    if dtype == mx.float16:
        return x.astype(np.float16).astype(np.float32)
    near = x.astype(np.float32)
    off = x - near.astype(np.float64)
    towards = np.where(off > 0, np.inf, -np.inf).astype(np.float32)
    even = near.view(np.uint32) % 2 == 0
    return bf16.rounded(np.where((off != 0) & even, np.nextafter(near, towards), near))


def _by_lane(x: Floats, each: int) -> Floats:
    """(..., K) as (..., steps, lanes, each), with zeros where lanes have nothing left."""
    short = -x.shape[-1] % (LANES * each)
    whole = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, short)])
    return whole.reshape(*x.shape[:-1], -1, LANES, each)


def chosen(x: Floats, values: Floats, scales: Floats, packing: Any) -> Floats:
    """Sums (N) of rows (N, K) of a chosen expert times x (K), in float32.

    A lane takes 16 bytes of neighbours a step. Each group in them begins two sums: of 4 bits of the even and of the odd
    neighbours, of 8 bits of the first and of the last two of every four. Both together times the scale are added by one
    fused step.
    """
    group, bits, _ = packing
    each = 128 // bits
    size = min(each, group)
    products = _by_lane((values * x).astype(np.float32), each)
    in_groups = products.reshape(*products.shape[:-1], each // size, size)
    if bits == 4:
        parts = in_groups.reshape(*in_groups.shape[:-1], -1, 2).swapaxes(-1, -2)
    else:
        fours = in_groups.reshape(*in_groups.shape[:-1], -1, 2, 2)
        parts = fours.swapaxes(-2, -3).reshape(*in_groups.shape[:-1], 2, -1)
    pairs = serial_sum(parts)
    of_groups = pairs[..., 0] + pairs[..., 1]
    by_group = _by_lane(scales, each)[..., ::size]
    total = np.zeros((len(values), LANES), np.float32)
    for step in range(of_groups.shape[1]):
        for part in range(of_groups.shape[-1]):
            total = fused(of_groups[:, step, :, part], by_group[:, step, :, part], total).astype(np.float32)
    return butterfly_sum(total)


def dense_of_4(x: Floats, values: Floats, scales: Floats, dtype: mx.Dtype) -> Floats:
    """Sums (N) of 4-bit rows (N, K) that are not gathered: weights and 16 accumulators a lane in `dtype`."""
    weights = _by_lane(nearest(values.astype(np.float64) * scales, dtype), 16)
    shares = _by_lane(x, 16)
    slots = np.zeros((len(values), LANES, 16), np.float32)
    for step in range(weights.shape[1]):
        slots = nearest(fused(weights[:, step], np.broadcast_to(shares[step], slots.shape), slots), dtype)
    return butterfly_sum(serial_sum(slots))


def swiglu(gate: Floats, up: Floats, dtype: mx.Dtype) -> Floats:
    """gate * sigmoid(gate) * up, every step rounded to `dtype`, on what float32 sums are rounded to."""
    g, u = nearest(gate, dtype), nearest(up, dtype)
    grown = nearest(1 + nearest(libm("expf", np.abs(g)), dtype), dtype)
    below = nearest(1 / grown, dtype)
    sigmoid = np.where(g < 0, below, nearest(1 - below, dtype))
    return nearest(nearest(g * sigmoid, dtype) * u, dtype)
