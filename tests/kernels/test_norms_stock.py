"""The sources with the bits of MLX's own add, norm and rotation, in the shim against an emulation in NumPy.

The emulation follows MLX 0.32.4 as compiled (mlx.metallib's AIR, libmlx's SASS): who squares what and in which order,
every rounding, and which product of the rotation is fused. What a GPU's exp2, sine, cosine and 1/sqrt return is not
seen here: both sides take the C library's. `test_on_gpu_norms.py` compares with MLX itself.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.kernels import gpu
from tests.kernels.bf16 import Floats, read, rounded
from tests.kernels.rows import butterfly_sum, libm
from tests.shim.source import Words
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

residual: Any = gpu.module("residual_norm.kernel")
rotate: Any = gpu.module("qk_norm_rope.kernel")
heads_of: Any = gpu.module("qk_norm_rope.heads").Heads.of
joined: Any = gpu.module("qkv_norm_rope.kernel")
joined_gpu: Any = gpu.module("qkv_norm_rope.gpu")
settle: Any = gpu.module("_lib.gpu.settle")

HIDDEN, EPS = 2048, 1e-6
HEADS, KV_HEADS, HEAD, BASE = 32, 4, 128, 1e6
forms = pytest.mark.parametrize("words", gpu.FORMS)

# Threads, chunks a thread, neighbours a chunk: read in MLX's launches, written down by hand.
SPREAD = {
    ("metal", 2048): (512, 1, 4),
    ("metal", 300): (96, 1, 4),
    ("metal", 4096): (1024, 1, 4),
    ("metal", 128): (32, 1, 4),
    ("metal", 32): (32, 1, 4),
    ("cuda", 2048): (128, 2, 8),
    ("cuda", 304): (64, 1, 8),
    ("cuda", 4096): (128, 4, 8),
    ("cuda", 1536): (64, 3, 8),
    ("cuda", 1000): (128, 1, 8),
    ("cuda", 128): (64, 1, 8),
    ("cuda", 32): (64, 1, 8),
}
FLOAT32 = {
    ("metal", 128): (32, 1, 4),
    ("cuda", 128): (64, 1, 4),
    ("metal", 2048): (512, 1, 4),
    ("cuda", 2048): (128, 4, 4),
}


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def draw(*shape: int, seed: int = 0, dtype: mx.Dtype = mx.bfloat16) -> mx.array:
    """Normal values over eight powers of two, so that a sum depends on its order."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * 2.0 ** rng.integers(-4, 5, size=shape)
    return mx.array(values.astype(np.float32)).astype(dtype)


def norm_of(d: int, seed: int = 9, dtype: mx.Dtype = mx.bfloat16) -> Any:
    norm = nn.RMSNorm(d, eps=EPS)
    norm.weight = draw(d, seed=seed, dtype=dtype)
    return norm


def fma(a: Floats, b: Floats, c: Floats) -> Floats:
    """Exact product, one rounding; the sum has 64 bits, which is enough for what is drawn here."""
    return (a.astype(np.longdouble) * b + c).astype(np.float32)


def fused_squares(x: Floats) -> Floats:
    """Add squares along the last axis from 0, in order, by fma."""
    total = np.zeros(x.shape[:-1], np.float32)
    for i in range(x.shape[-1]):
        total = fma(x[..., i], x[..., i], total)
    return total


def rounded_like(weight: mx.array) -> Callable[[Any], Floats]:
    return rounded if weight.dtype == mx.bfloat16 else lambda x: np.asarray(x, np.float32)


def normed(values: Floats, norm: Any, words: Words) -> Floats:
    """MLX's norm of rows in the dtype of the norm's weight, bfloat16 or float32."""
    step, d = rounded_like(norm.weight), values.shape[-1]
    threads, chunks, reads = (SPREAD if norm.weight.dtype == mx.bfloat16 else FLOAT32)[words, d]
    row = np.zeros((*values.shape[:-1], chunks * threads * reads), np.float32)
    row[..., :d] = values
    own = np.moveaxis(row.reshape(*values.shape[:-1], chunks, threads, reads), -3, -2)
    sums = fused_squares(own.reshape(*values.shape[:-1], threads, -1))
    groups = np.zeros((*values.shape[:-1], 32), np.float32)
    groups[..., : threads // 32] = butterfly_sum(sums.reshape(*values.shape[:-1], -1, 32))
    mean = butterfly_sum(groups)[..., None] / np.float32(d)
    scale = np.float32(1) / np.sqrt(mean + np.float32(EPS))
    return step(read(norm.weight) * step(values * scale))


def turned(values: Floats, norm: Any, positions: Any, words: Words) -> Floats:
    """MLX's norm and rotation of heads (B, L, H, hd) at `positions` (B, L), as (B, H, L, hd)."""
    half = values.shape[-1] // 2
    n = normed(values, norm, words)
    a, b = n[..., :half], n[..., half:]
    d = np.arange(half, dtype=np.float32) / np.float32(half)
    frequencies = libm("exp2f", -d * np.float32(np.log2(BASE)))
    angles = np.asarray(positions, np.float32)[..., None, None] * frequencies
    cosine, sine = libm("cosf", angles), libm("sinf", angles)
    pairs = [fma(a, cosine, -(b * sine)), fma(a, sine, b * cosine)]
    return rounded_like(norm.weight)(np.concatenate(pairs, -1)).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(("words", "d"), [at for at in SPREAD if at[1] >= 300])
def test_the_add_and_the_norm(words: Words, d: int, batch: int) -> None:
    norm = norm_of(d)
    call = residual.stock(norm, words, gpu.settle(words))
    for seed in (0, 2):
        x, r = draw(batch, 1, d, seed=seed), draw(batch, 1, d, seed=seed + 1)
        h, out = call(x=x, r=r)
        assert gpu.same(h, x + r)
        np.testing.assert_array_equal(read(out), normed(read(x + r), norm, words))


@forms
def test_the_add_and_the_norm_in_float32(words: Words) -> None:
    norm = norm_of(HIDDEN, dtype=mx.float32)
    x, r = (draw(2, 1, HIDDEN, seed=seed, dtype=mx.float32) for seed in (0, 1))
    h, out = residual.stock(norm, words, gpu.settle(words))(x=x, r=r)
    assert gpu.same(h, x + r)
    np.testing.assert_array_equal(read(out), normed(read(x + r), norm, words))


def attention(hd: int = HEAD, dtype: mx.Dtype = mx.bfloat16) -> Any:
    return SimpleNamespace(
        n_heads=HEADS,
        n_kv_heads=KV_HEADS,
        q_norm=norm_of(hd, dtype=dtype),
        k_norm=norm_of(hd, seed=8, dtype=dtype),
        rope=nn.RoPE(hd, base=BASE),
    )


PLACES = [(1, 1, 0), (1, 1, 1023), (2, 2, 200), (4, 1, mx.array([3, 0, 77, 40000]))]


def positions_of(batch: int, length: int, offset: Any) -> Any:
    return np.broadcast_to(np.array(offset), (batch,))[:, None] + np.arange(length)


@forms
@pytest.mark.parametrize(("batch", "length", "offset"), PLACES)
@pytest.mark.parametrize("hd", [HEAD, 32])
def test_norm_and_rotation_of_q_and_k(hd: int, batch: int, length: int, offset: Any, words: Words) -> None:
    module = attention(hd)
    q, k = draw(batch, length, HEADS * hd), draw(batch, length, KV_HEADS * hd, seed=1)
    outputs = rotate.stock(module, words, gpu.settle(words))(q=q, k=k, offset=offset)
    positions = positions_of(batch, length, offset)
    for out, x, norm in zip(outputs, (q, k), (module.q_norm, module.k_norm), strict=True):
        wanted = turned(read(x).reshape(batch, length, -1, hd), norm, positions, words)
        np.testing.assert_array_equal(read(out), wanted)


@forms
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float32])
@pytest.mark.parametrize(("batch", "length", "offset"), PLACES)
def test_the_joined_projection_is_cut_normed_and_turned(
    batch: int, length: int, offset: Any, dtype: mx.Dtype, words: Words
) -> None:
    module = attention(dtype=dtype)
    raw = draw(batch, length, (HEADS + 2 * KV_HEADS) * HEAD, dtype=dtype)
    offsets = mx.array(offset).reshape(-1)
    launch = joined_gpu.plan(heads_of(module, words), raw, offsets)
    q, k, v = gpu.run(launch, words)
    by_head = read(raw).reshape(batch, length, -1, HEAD)
    positions = positions_of(batch, length, offset)
    of_q, of_k, of_v = np.split(by_head, [HEADS, HEADS + KV_HEADS], axis=2)
    np.testing.assert_array_equal(read(q), turned(of_q, module.q_norm, positions, words))
    np.testing.assert_array_equal(read(k), turned(of_k, module.k_norm, positions, words))
    np.testing.assert_array_equal(read(v), of_v.transpose(0, 2, 1, 3))


def quantised(hd: int = 32) -> Any:
    """An attention of 4 and 2 heads over 64 elements, as `nn.quantize` leaves it."""
    module = nn.Module()
    for name, rows, seed in (("q_proj", 4, 1), ("k_proj", 2, 2), ("v_proj", 2, 3)):
        layer = nn.Linear(64, rows * hd, bias=False)
        layer.weight = draw(rows * hd, 64, seed=seed)
        module[name] = nn.QuantizedLinear.from_linear(layer, 64, 4)
    module.n_heads, module.n_kv_heads = 4, 2
    module.q_norm, module.k_norm, module.rope = norm_of(hd), norm_of(hd, seed=8), nn.RoPE(hd, base=BASE)
    return module


@forms
def test_projections_norms_and_rotation_from_a_quantised_attention(words: Words) -> None:
    module, x = quantised(), draw(2, 1, 64)
    parts = [module[name](x).reshape(2, 1, -1, 32) for name in ("q_proj", "k_proj", "v_proj")]
    weights = {name: module[name].weight.tolist() for name in ("q_proj", "k_proj", "v_proj")}
    binding = joined.qkv_norm_rope(module, words, gpu.settle(words))
    for offset in (7, 7, 8):
        q, k, v = binding.call(x=x, offset=offset)
        positions = positions_of(2, 1, offset)
        np.testing.assert_array_equal(read(q), turned(read(parts[0]), module.q_norm, positions, words))
        np.testing.assert_array_equal(read(k), turned(read(parts[1]), module.k_norm, positions, words))
        assert gpu.same(v, parts[2].transpose(0, 2, 1, 3))
    binding.undo()
    assert {name: module[name].weight.tolist() for name in weights} == weights


CHUNK = "const uint first = (c * THREADS + own) * READS;\n  Pack"
ADD = {
    "no barrier": ("threadgroup_barrier(mem_flags::mem_threadgroup);", ""),
    "one simdgroup's sum": ("simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f)", "total"),
    "rubbish added": ("lane < THREADS / 32 ? sums[lane] : 0.0f", "sums[lane]"),
    "sum not rounded": (
        "float(sum.at[i]) : 0.0f",
        "add_rn(float(x[row + first + i]), float(r[row + first + i])) : 0.0f",
    ),
    "normed value not rounded": ("float(T(mul_rn(values[c * READS + i], scale)))", "values[c * READS + i] * scale"),
    "chunks not interleaved": (CHUNK, CHUNK.replace("c * THREADS + own", "own * CHUNKS + c")),
    "eps outside the root": (
        "rsqrt_precise(add_rn(div_rn(total, float(D)), float_of(uint(EPS))))",
        "rsqrt_precise(total / D) + 1e-6f",
    ),
    "another token's row": ("normed + row + first", "normed + first"),
}
TURN = {
    "norm not rounded": ("float(T(mul_rn(float(near[p]), scale)))", "mul_rn(float(near[p]), scale)"),
    "weighted norm not rounded": (
        "const float b = float(T(mul_rn(float(far_weight[p]), float(T(mul_rn(float(far[p]), scale))))));",
        "const float b = mul_rn(float(far_weight[p]), float(T(mul_rn(float(far[p]), scale))));",
    ),
    "not fused": ("fused(a, cosine[p], -mul_rn(b, sine[p]))", "add_rn(mul_rn(a, cosine[p]), -mul_rn(b, sine[p]))"),
    "the other product fused": ("fused(a, sine[p], mul_rn(b, cosine[p]))", "fused(b, cosine[p], mul_rn(a, sine[p]))"),
    "other sign": ("-mul_rn(b, sine[p])", "mul_rn(b, sine[p])"),
    "wrong partner": ("far[p] = in[d + HD / 2];", "far[p] = in[d ^ 1];"),
    "frequencies of neighbours": ("float(HD / 2)), log2_base", "float(HD)), log2_base"),
}
LAYOUT = {
    "position of the first": ("+ int(l)", ""),
    "layout not transposed": ("((b * HQ + head) * L + l) * HD", "(token * HQ + head) * HD"),
    "v where k lies": ("joined[from + d]", "joined[from - HK * HD + d]"),
    "k with q's weight": ("joined + from, k_weight", "joined + from, q_weight"),
}


def in_header(launch: Any, right: str, wrong: str) -> Any:
    """As `gpu.mutated`, in the source's header."""
    swapped = launch._replace(source=SimpleNamespace(**vars(launch.source)))
    assert swapped.source.header.count(right) == 1, right
    swapped.source.header = swapped.source.header.replace(right, wrong)
    return swapped


@pytest.mark.parametrize("error", [*ADD, *TURN, *LAYOUT])
def test_a_planted_error_is_found(error: str) -> None:
    if error in ADD:
        launches: list[Any] = []
        # Small values, so that eps weighs.
        x, r = draw(2, 1, HIDDEN) / 256, draw(2, 1, HIDDEN, seed=1) / 256
        good = residual.stock(norm_of(HIDDEN), "cuda", gpu.settle("cuda", launches))(x=x, r=r)
        wrong = gpu.mutated(launches[0], *ADD[error])
    else:
        # Rounding to bfloat16 hides nearly every contraction.
        dtype = mx.float32 if "fused" in error else mx.bfloat16
        raw = draw(2, 2, (HEADS + 2 * KV_HEADS) * HEAD, dtype=dtype)
        launch = joined_gpu.plan(heads_of(attention(dtype=dtype), "cuda"), raw, mx.array([5]))
        good = gpu.run(launch, "cuda")
        wrong = in_header(launch, *TURN[error]) if error in TURN else gpu.mutated(launch, *LAYOUT[error])
    assert not gpu.passes(wrong, list(good), "cuda")


def test_what_is_not_served_says_so() -> None:
    with pytest.raises(Unavailable, match="rows of 8200 elements are too long on cuda"):
        residual.stock(norm_of(8200), "cuda", list)
    with pytest.raises(Unavailable, match="rows of 4100 elements are too long on metal"):
        residual.stock(norm_of(4100), "metal", list)
    with pytest.raises(Unavailable, match="rows of 300 elements are no multiple of 8"):
        residual.stock(norm_of(300), "cuda", list)
    with pytest.raises(ValueError, match="model's dtype"):
        residual.stock(norm_of(64), "metal", list)(x=draw(1, 1, 64).astype(mx.float32), r=draw(1, 1, 64))
    with pytest.raises(Unavailable, match="heads of 256 elements; multiples of 4 up to 128"):
        rotate.stock(attention(256), "metal", list)
    with pytest.raises(ValueError, match="model's dtype"):
        rotate.stock(attention(), "cuda", list)(q=draw(1, 1, 64).astype(mx.float32), k=draw(1, 1, 64), offset=0)
    module = attention()
    module.rope = nn.RoPE(HEAD, traditional=True)
    with pytest.raises(Unavailable, match="whole heads"):
        rotate.stock(module, "cuda", list)
    module = quantised()
    module.v_proj = nn.Linear(64, 64, bias=False)
    with pytest.raises(Unavailable, match="affine quantised projections"):
        joined.qkv_norm_rope(module, "cuda", list)
    module = quantised()
    module.v_proj = nn.QuantizedLinear(64, 64, bias=False, bits=8)
    with pytest.raises(Unavailable, match="one bit width"):
        joined.qkv_norm_rope(module, "cuda", list)
    if not mx.cuda.is_available():
        with pytest.raises(Unavailable, match="needs"):
            joined.bind(None, BindRequest(("qkv", "qk_norm_rope"), "stock", "cuda"))


def test_constants_stand_for_the_template() -> None:
    text = settle.constants((("T", mx.bfloat16), ("D", 7), ("FUSED", True)), "cuda")
    assert text == "using T = __nv_bfloat16;\nconstexpr int D = 7;\nconstexpr bool FUSED = true;\n"
    assert np.int32(settle.bits(-2.5)).view(np.float32) == -2.5


def test_the_metal_texts_hold_metals_address_spaces_and_contract_only_where_they_say() -> None:
    from tests.shim.clang import llvm  # skips where there is no clang

    module, head = attention(), mx.array([5])
    q, k = draw(1, 1, HEADS * HEAD), draw(1, 1, KV_HEADS * HEAD)
    heads = heads_of(module, "metal")
    norm = norm_of(HIDDEN)
    launches = [
        gpu.module("residual_norm.gpu").plan_stock(draw(1, 1, HIDDEN), draw(1, 1, HIDDEN), norm.weight, EPS, "metal"),
        gpu.module("qk_norm_rope.gpu").plan_stock(heads, q, k, head),
        joined_gpu.plan(heads, draw(1, 1, (HEADS + 2 * KV_HEADS) * HEAD), head),
    ]
    # `fused` is an operation of its own.
    assert not any("llvm.fmuladd" in llvm(launch, gpu.module("_lib.gpu.launch").WORDS["metal"]) for launch in launches)
