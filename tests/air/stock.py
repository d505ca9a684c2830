"""Steps of the unpatched model by MLX's shipped Metal kernels, launched as MLX 0.32.4 launches them.

Which kernel, grid and threadgroup: from MLX's public sources and, where a rule was known to have changed since, from
what was read in the 0.32.4 wheels' binaries; nothing here reads them again. A mention of a source file names where the
rule is readable. Inputs are row-contiguous.

What `mx.compile` fuses is not in the library. Its kernels call the same functors as the elementwise kernels and store
each step in the step's own type, so a compiled chain is written here as those kernels one after another: SwiGLU
(Sigmoid, Multiply, Multiply), GLM's scores (astype, Sigmoid, Add, Negative, Add, Divide, Multiply).
"""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np

from tests.air.run import Mac, Out, run_stock
from tests.shim.run import Three

TYPES = {mx.bfloat16: "bfloat16", mx.float16: "float16", mx.float32: "float32"}
UNUSED = mx.zeros((0,), mx.int32)
"""A buffer that the kernel does not read."""
_LANES = 32


def int32(*values: int) -> mx.array:
    return mx.array(values, mx.int32)


def int64(*values: int) -> mx.array:
    return mx.array(values, mx.int64)


def block(dim0: int, dim1: int, dim2: int) -> Three:
    """MLX's threadgroup for a grid of threads: powers of two, in turn, up to 1,024 (backend/common/utils.cpp)."""
    dims, powers = (dim0, dim1, dim2), [0, 0, 0]
    while sum(powers) < 10:
        before = sum(powers)
        for axis in range(3):
            if sum(powers) < 10 and dims[axis] >= 1 << (powers[axis] + 1):
                powers[axis] += 1
        if sum(powers) == before:
            break
    return 1 << powers[0], 1 << powers[1], 1 << powers[2]


def ceil(a: int, b: int) -> int:
    return -(-a // b)


def row_threads(size: int, reads: int = 4) -> int:
    """Threads of a row that one threadgroup reads at once, in whole simdgroups (normalization.cpp, softmax.cpp)."""
    return ceil(ceil(size, reads), _LANES) * _LANES


def rms_norm(mac: Mac, x: mx.array, weight: mx.array, eps: float) -> mx.array:
    """x (..., D) with D up to 4,096, weight (D,)."""
    size = x.shape[-1]
    threads = row_threads(size)
    buffers: dict[int, mx.array | Out] = {
        0: x,
        1: weight,
        2: Out(x.shape, x.dtype),
        3: mx.array([eps], mx.float32),
        4: mx.array([size], mx.uint32),
        5: mx.array([1], mx.uint32),
    }
    rows = x.size // size
    return run_stock(mac, f"rms{TYPES[x.dtype]}", buffers, grid=(rows * threads, 1, 1), threadgroup=(threads, 1, 1))[0]


def softmax(mac: Mac, x: mx.array, *, precise: bool = True) -> mx.array:
    """`mx.softmax(x, axis=-1, precise=precise)` of rows up to 4,096."""
    size = x.shape[-1]
    threads = row_threads(size)
    buffers: dict[int, mx.array | Out] = {0: x, 1: Out(x.shape, x.dtype), 2: int32(size)}
    name = f"block_softmax_{'precise_' if precise else ''}{TYPES[x.dtype]}"
    return run_stock(mac, name, buffers, grid=(x.size // size * threads, 1, 1), threadgroup=(threads, 1, 1))[0]


def argsort(mac: Mac, x: mx.array) -> mx.array:
    """`mx.argpartition` along the last axis, which is a full sort on Metal, of rows up to 2,048 (sort.cpp)."""
    size = x.shape[-1]
    lanes = max(32, 1 << (ceil(size, 4) - 1).bit_length())
    buffers: dict[int, mx.array | Out] = {
        0: x,
        1: Out(x.shape, mx.uint32),
        2: int32(size),
        3: int32(1),
        4: int32(1),
        5: int32(size),
        6: int32(size),
    }
    name = f"carg_block_sort_{TYPES[x.dtype]}_uint32_bn{lanes}_tn4"
    return run_stock(mac, name, buffers, grid=(lanes, x.size // size, 1), threadgroup=(lanes, 1, 1))[0]


def sum_row(mac: Mac, x: mx.array) -> mx.array:
    """`x.sum(axis=-1, keepdims=True)` of rows up to 64, a thread each (reduce.cpp, row_reduce_small)."""
    size = x.shape[-1]
    rows = x.size // size
    assert size <= 64, "longer rows go to another kernel"
    buffers: dict[int, mx.array | Out] = {
        0: x,
        1: Out((*x.shape[:-1], 1), x.dtype),
        2: int64(size),
        3: int64(1),
        4: int32(rows),
        5: int64(size),
        6: int32(1),
        7: int32(0),
        8: int64(0),
        9: int32(0),
    }
    name = f"row_reduce_small_1_reduce_sum{TYPES[x.dtype]}"
    return run_stock(mac, name, buffers, grid=(rows, 1, 1), threadgroup=(min(rows, 1024), 1, 1))[0]


def sum_column(mac: Mac, x: mx.array) -> mx.array:
    """`x.sum(axis=-2)` of (..., k, D) with fewer than 32 rows k (reduce.cpp, strided_reduce_small)."""
    *leading, k, size = x.shape
    rows = math.prod(leading)
    assert k < 32, "longer columns go to another kernel"
    threads = min(ceil(size, 4), 32)
    buffers: dict[int, mx.array | Out] = {
        0: x,
        1: Out((*leading, size), x.dtype),
        2: int64(k),
        3: int64(size),
        4: int32(rows),
        5: int64(k * size),
        6: int32(1),
        7: int32(k),
        8: int64(size),
        9: int32(1),
        10: int64(1),
    }
    group = (threads, min(8, k), 1)
    tiles = ceil(ceil(size, 4), threads)
    name = f"col_reduce_small_1_reduce_sum{TYPES[x.dtype]}"
    return run_stock(mac, name, buffers, grid=(tiles * group[0], rows * group[1], 1), threadgroup=group)[0]


def unary(mac: Mac, operation: str, x: mx.array) -> mx.array:
    """An elementwise step on one array, such as `Sigmoid`."""
    buffers: dict[int, mx.array | Out] = {0: x, 1: Out(x.shape, x.dtype), 2: mx.array([x.size], mx.uint32)}
    name = f"v_{operation}{TYPES[x.dtype]}{TYPES[x.dtype]}"
    return run_stock(mac, name, buffers, grid=(x.size, 1, 1), threadgroup=(min(x.size, 1024), 1, 1))[0]


def astype(mac: Mac, x: mx.array, dtype: mx.Dtype) -> mx.array:
    """A copy in another type."""
    buffers: dict[int, mx.array | Out] = {0: x, 1: Out(x.shape, dtype), 2: mx.array([x.size], mx.uint32)}
    name = f"v_copy{TYPES[x.dtype]}{TYPES[dtype]}"
    return run_stock(mac, name, buffers, grid=(x.size, 1, 1), threadgroup=(min(x.size, 1024), 1, 1))[0]


def binary(mac: Mac, operation: str, a: mx.array, b: mx.array) -> mx.array:
    """An elementwise step on two arrays of one type, broadcast as MLX's general kernel does where shapes differ."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    out = Out(shape, a.dtype)
    size = math.prod(shape)
    if a.shape == b.shape:
        name, grid, group = f"vv_{operation}{TYPES[a.dtype]}", (size, 1, 1), (min(size, 1024), 1, 1)
        buffers: dict[int, mx.array | Out] = {0: a, 1: b, 2: out, 3: mx.array([size], mx.uint32)}
        return run_stock(mac, name, buffers, grid=grid, threadgroup=group)[0]
    if b.size == 1:
        name, grid, group = f"vs_{operation}{TYPES[a.dtype]}", (size, 1, 1), (min(size, 1024), 1, 1)
        buffers = {0: a, 1: b, 2: out, 3: mx.array([size], mx.uint32)}
        return run_stock(mac, name, buffers, grid=grid, threadgroup=group)[0]
    dims = _collapsed(shape, a.shape, b.shape)
    sizes, strides_a, strides_b = (list(column) for column in zip(*dims, strict=True))
    grid = (sizes[-1], sizes[-2] if len(dims) > 1 else 1, math.prod(sizes[:-2]))
    if len(dims) > 3:
        raise NotImplementedError("no step of these models has more than 3 dimensions left")
    buffers = {0: a, 1: b, 2: out, 3: int64(*strides_a), 4: int64(*strides_b)}
    name = f"g{len(dims)}_{operation}{TYPES[a.dtype]}"
    return run_stock(mac, name, buffers, grid=grid, threadgroup=block(*grid))[0]


def _collapsed(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return (size, stride of a, stride of b) of each dimension that is left when neighbours are joined."""
    dims: list[tuple[int, int, int]] = []
    for axis, size in enumerate(shape):
        strides = []
        for own in (a, b):
            own = (1,) * (len(shape) - len(own)) + tuple(own)
            strides.append(0 if own[axis] == 1 else math.prod(own[axis + 1 :]))
        if size == 1:
            continue
        if dims and dims[-1][1] == strides[0] * size and dims[-1][2] == strides[1] * size:
            dims[-1] = (dims[-1][0] * size, strides[0], strides[1])
        else:
            dims.append((size, strides[0], strides[1]))
    return dims or [(1, 0, 0)]


def swiglu(mac: Mac, gate: mx.array, up: mx.array) -> mx.array:
    """`nn.silu(gate) * up`, compiled."""
    return binary(mac, "Multiply", binary(mac, "Multiply", gate, unary(mac, "Sigmoid", gate)), up)


def rope(
    mac: Mac,
    x: mx.array,
    offset: mx.array,
    *,
    traditional: bool,
    base: float,
    strides: tuple[int, int] | None = None,
) -> mx.array:
    """`mx.fast.rope` of whole rows x (B, heads, L, D) at int32 offset (1,) or (B,), unscaled (rope.cpp).

    `strides` are those of heads and tokens where x is a view of another order; then x is the buffer of that view's
    shape. One token at one offset has a kernel of its own, unless x is a view.
    """
    b, heads, length, size = x.shape
    shared: dict[int, mx.array | Out] = {
        0: x,
        1: Out(x.shape, x.dtype),
        2: offset,
        3: mx.array([1.0], mx.float32),
        10: mx.array([math.log2(base)], mx.float32),
    }
    chosen = {"forward": True, "traditional": traditional}
    if offset.size == 1 and length == 1 and strides is None:
        grid = (size // 2, b * heads, 1)
        name, buffers = f"rope_single_{TYPES[x.dtype]}", shared | {4: int64(size)}
        return run_stock(mac, name, buffers, grid=grid, threadgroup=block(*grid), constants=chosen)[0]
    contiguous = (length * size, size)
    buffers = shared | {4: int64(*(strides or contiguous), 1), 5: int64(*contiguous, 1)}
    buffers |= {6: int64(int(offset.size > 1)), 7: int32(heads)}
    grid = (size // 2, length, b * ceil(heads, 4))
    chosen |= {"hs_transpose": strides is not None and length > 1}
    name = f"rope_{TYPES[x.dtype]}"
    return run_stock(mac, name, buffers, grid=grid, threadgroup=block(*grid), constants=chosen)[0]
