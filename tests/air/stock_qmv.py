"""Quantised products of the unpatched model by MLX's shipped Metal kernels.

Weights are affine, 4 bit, in groups of 64, where nothing else is said."""

from __future__ import annotations

import math
from typing import NamedTuple

import mlx.core as mx

from tests.air.run import Mac, Out, run_stock
from tests.air.stock import TYPES, UNUSED, int32, int64

ROWS = 8
"""Rows of a threadgroup of two simdgroups."""


FOUR = (64, 4, "affine")
"""Group size, bits and mode."""


class Packed(NamedTuple):
    """Words (E, N, K / 8) or (N, K / 8), scales and biases; of floats the biases are not looked at."""

    w: mx.array
    scales: mx.array
    biases: mx.array


def fast_columns(bits: int) -> int:
    """Columns of which the fast kernel takes multiples, two words a lane: qmv and gather_qmv, read in the binary."""
    return 2 * 32 // bits * 32


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def gather(mac: Mac, x: mx.array, packed: Packed, inds: mx.array, packing: tuple[int, int, str] = FOUR) -> mx.array:
    """`mx.gather_qmm(x, ..., rhs_indices=inds, transpose=True)`: x (B, L, 1 or k, 1, K), inds (B, L, k).

    The left indices are a range over x's rows, broadcast to the shape of `inds`. Fast where whole tiles fit:
    GatherQMM::eval_gpu, read in the binary.
    """
    k, n = x.shape[-1], packed.w.shape[-2]
    group, bits, mode = packing
    affine = mode == "affine"
    fast = n % 8 == 0 and k % fast_columns(bits) == 0
    rows = x.shape[:-2]
    left = mx.arange(math.prod(rows), dtype=mx.uint32)
    left_strides = [0 if size == 1 and inds.shape[axis] > 1 else _strides(rows)[axis] for axis, size in enumerate(rows)]
    buffers: dict[int, mx.array | Out] = {
        0: packed.w,
        1: packed.scales,
        2: packed.biases if affine else UNUSED,  # a scale of all weights, which none has
        3: x,
        4: left,
        5: inds,
        6: Out((*inds.shape, 1, n), x.dtype),
        7: int32(k),
        8: int32(n),
        9: int32(x.ndim - 2),
        10: int32(*x.shape),
        11: int64(*_strides(x.shape)),
        12: int32(packed.w.ndim - 2),
        13: int32(*packed.w.shape),
        14: int64(*_strides(packed.w.shape)),
        15: int64(*_strides(packed.scales.shape)),
    }
    # Of floats no strides of biases stand here.
    batch = [int32(inds.ndim), int32(*inds.shape), int64(*left_strides), int64(*_strides(inds.shape))]
    if affine:
        batch.insert(0, int64(*_strides(packed.biases.shape)))
    buffers |= dict(enumerate(batch, 16))
    name = f"{mode}_gather_qmv_{'fast_' if fast else ''}{TYPES[x.dtype]}_t_gs_{group}_b_{bits}"
    grid = (32, -(-n // ROWS) * 2, inds.size)
    return run_stock(mac, name, buffers, grid=grid, threadgroup=(32, 2, 1))[0]


def dense_row(mac: Mac, x: mx.array, packed: Packed, packing: tuple[int, int, str]) -> mx.array:
    """`mx.quantized_matmul(x, ..., transpose=True)` of one row x (1, 1, K) by rows (N, K) of any packing."""
    k, n = x.shape[-1], packed.w.shape[-2]
    group, bits, mode = packing
    assert k not in (64, 128), "qmv_quad"
    assert x.size == k
    fast = k % fast_columns(bits) == 0
    buffers: dict[int, mx.array | Out] = {
        0: packed.w,
        1: packed.scales,
        2: packed.biases if mode == "affine" else UNUSED,
        3: x,
        4: Out((*x.shape[:-1], n), x.dtype),
        5: int32(k),
        6: int32(n),
    }
    unused = dict.fromkeys(range(7, 15 if mode == "affine" else 14), UNUSED)
    partial = int(fast and n % ROWS != 0)
    form = f"gs_{group}_b_{bits}_batch_0_pr_{partial}_hgs_0_r_4"
    name = f"{mode}_qmv_{'fast_' if fast else ''}{TYPES[x.dtype]}_t_{form}"
    grid = (32, -(-n // ROWS) * 2, 1)
    return run_stock(mac, name, buffers | unused, grid=grid, threadgroup=(32, 2, 1))[0]


def dense(mac: Mac, x: mx.array, packed: Packed, *, generation: int = 14) -> mx.array:
    """`mx.quantized_matmul(x, ..., transpose=True)` of x (B, L, K) with few rows, on a GPU of a generation.

    From generation 15 (M3) on several rows go to qmv_wide; K of 64 and 128 goes to qmv_quad: dispatch_qmv, read in the
    binary. A partial tile of rows is a variant of the fast kernel.
    """
    k, n = x.shape[-1], packed.w.shape[-2]
    rows = x.size // k
    assert k not in (64, 128), "qmv_quad"
    buffers: dict[int, mx.array | Out] = {
        0: packed.w,
        1: packed.scales,
        2: packed.biases,
        3: x,
        4: Out((*x.shape[:-1], n), x.dtype),
        5: int32(k),
        6: int32(n),
    }
    unused = dict.fromkeys(range(7, 15), UNUSED)
    if rows >= 2 and generation >= 15:
        tiles = -(-rows // 5)
        vectors = -(-rows // tiles)
        name = f"affine_qmv_wide_{TYPES[x.dtype]}_t_gs_64_b_4_nv_{vectors}_kl_8_batch_0"
        buffers |= unused | {7: int32(rows), 15: UNUSED}
        grid = (32 * -(-rows // vectors), -(-n // ROWS) * 2, 1)
        return run_stock(mac, name, buffers, grid=grid, threadgroup=(32, 2, 1))[0]
    fast = k % 512 == 0
    partial = int(fast and n % ROWS != 0)
    name = f"affine_qmv_{'fast_' if fast else ''}{TYPES[x.dtype]}_t_gs_64_b_4_batch_0_pr_{partial}_hgs_0_r_4"
    grid = (32 * rows, -(-n // ROWS) * 2, 1)
    return run_stock(mac, name, buffers | unused, grid=grid, threadgroup=(32, 2, 1))[0]


def batched(mac: Mac, x: mx.array, packed: Packed) -> mx.array:
    """`mx.quantized_matmul` of x (B, H, 1, K) by words (H, N, K / 8), broadcast: a row times its head's matrix."""
    k, n = x.shape[-1], packed.w.shape[-2]
    assert k % 512, "the fast kernel"
    buffers: dict[int, mx.array | Out] = {
        0: packed.w,
        1: packed.scales,
        2: packed.biases,
        3: x,
        4: Out((*x.shape[:-1], n), x.dtype),
        5: int32(k),
        6: int32(n),
        7: int32(x.ndim - 2),
        8: int32(*x.shape),
        9: int64(*_strides(x.shape)),
        10: int32(2),
        11: int32(x.shape[0], *packed.w.shape),
        12: int64(0, *_strides(packed.w.shape)),
        13: int64(0, *_strides(packed.scales.shape)),
        14: int64(0, *_strides(packed.biases.shape)),
    }
    name = f"affine_qmv_{TYPES[x.dtype]}_t_gs_64_b_4_batch_1_pr_0_hgs_0_r_4"
    grid = (32, -(-n // ROWS) * 2, x.size // k)
    return run_stock(mac, name, buffers, grid=grid, threadgroup=(32, 2, 1))[0]


def parts(m: int, n: int, k: int) -> int:
    """In how many parts MLX sums over K a product of a prompt's `m` rows by `n` rows of `k` weights (qmm_splitk)."""
    most = min(max(1, 512 // (-(-n // 32) * -(-m // 32))), k // 64)
    return next(part for part in range(most, 0, -1) if k % (part * 64) == 0)


def prompt(mac: Mac, x: mx.array, packed: Packed, among: int) -> mx.array:
    """The float32 sums (parts, M, N) of a prompt's x (M, K), in the parts that it has for `among` rows of weights."""
    (m, k), n = x.shape, packed.w.shape[0]
    split = parts(m, among, k)
    assert split > 1, "qmm_t"
    buffers: dict[int, mx.array | Out] = {
        0: packed.w,
        1: packed.scales,
        2: packed.biases,
        3: x,
        4: Out((split, m, n), mx.float32),
        5: int32(k),
        6: int32(n),
        7: int32(m),
        8: int32(k // split),
        9: int32(m * n),
    }
    name = f"affine_qmm_t_splitk_{TYPES[x.dtype]}_t_gs_64_b_4_alN_{str(n % 32 == 0).lower()}"
    grid = (32 * -(-n // 32), 2 * -(-m // 32), 2 * split)
    return run_stock(mac, name, buffers, grid=grid, threadgroup=(32, 2, 2))[0]
