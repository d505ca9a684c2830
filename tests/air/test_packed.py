"""Experts, and down with combine, over packed weights beside MLX's shipped Metal kernels, bit for bit."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.air import chains, stock, stock_qmv
from tests.air.ours import changed, differing, run_ours
from tests.air.run import Mac
from tests.air.stock_qmv import Packed
from tests.kernels.declared import served
from tests.kernels.gpu import module

pytestmark = pytest.mark.process

experts, down = module("packed_experts.gpu"), module("packed_down_combine.gpu")
together = module("packed_moe.gpu")
Packing = module("_lib.packings").Packing
Form = module("_lib.gpu.packed_weights").Form

EIGHT, MXFP4, MXFP8, NVFP4 = (64, 8, "affine"), (32, 4, "mxfp4"), (32, 8, "mxfp8"), (16, 4, "nvfp4")
FAST, GENERIC = (24, 512), (13, 768)
"""Rows and columns that MLX's fast kernel takes, and that its generic one takes, with rows over its last tile."""
BETWEEN = (24, 768)
"""Columns that fill a tile of the fast kernel at 8 bits and not at 4: the down projection of qwen3_moe."""
BRIEF = [
    (EIGHT, BETWEEN, mx.bfloat16),
    (EIGHT, GENERIC, mx.float16),
    (MXFP4, FAST, mx.bfloat16),
    (MXFP4, GENERIC, mx.float16),
]
OTHERS = [
    (tuple(packing), sizes, dtype)
    for packing in sorted(served("packed_experts", "metal"))
    for sizes in (FAST, GENERIC, BETWEEN)
    for dtype in (mx.bfloat16, mx.float16)
    if (tuple(packing), sizes, dtype) not in BRIEF
]
each = pytest.mark.parametrize(
    ("packing", "sizes", "dtype"), [*BRIEF, *(pytest.param(*other, marks=pytest.mark.slow) for other in OTHERS)]
)


def rows_of(seed: int, n: int, k: int, packing: tuple[int, int, str], dtype: mx.Dtype, mirrored: bool = True) -> Packed:
    """Rows (FEW, n, k) whose second half, where `mirrored`, is the first one backwards: see `cancelling`."""
    group, bits, mode = packing
    rng = np.random.default_rng(seed)

    def whole(half: np.ndarray) -> np.ndarray:
        return np.concatenate([half, half[..., ::-1] if mirrored else rng.permuted(half, axis=-1)], -1)

    codes = rng.integers(0, 2**bits, size=(chains.FEW, n, k // 2))
    if mode == "mxfp8":
        codes[codes % 128 == 127] = 1  # no NaNs
    every = whole(codes).astype(np.uint32).reshape(chains.FEW, n, -1, 32 // bits)
    words = mx.array((every << (np.arange(32 // bits, dtype=np.uint32) * bits)).sum(-1, dtype=np.uint32))
    groups = (chains.FEW, n, k // group // 2)
    if mode != "affine":
        near_one = 56 if mode == "nvfp4" else 127
        scales = mx.array(whole(rng.integers(near_one - 9, near_one + 3, size=groups)).astype(np.uint8))
        return Packed(words, scales, scales)
    scale = rng.choice([-1.0, 1.0], size=groups) * rng.uniform(0.001, 0.006, size=groups)
    bias = -0.5 * 2**bits * scale + rng.normal(size=groups) * 0.002
    return Packed(words, *(mx.array(whole(part).astype(np.float32)).astype(dtype) for part in (scale, bias)))


def cancelling(seed: int, *shape: int, dtype: mx.Dtype) -> mx.array:
    """Values of many exponents whose second half is the first one backwards with the other sign: a product with
    mirrored rows is zero but for the roundings of float32, so that each of them shows in the result."""
    rng = np.random.default_rng(seed)
    low, high = (-4, 9) if dtype == mx.float16 else (-8, 20)
    half = np.concatenate([shape[:-1], [shape[-1] // 2]])
    values = rng.normal(size=half) * np.exp2(rng.integers(low, high, size=half))
    return mx.array(np.concatenate([values, -values[..., ::-1]], -1).astype(np.float32)).astype(dtype)


def gate_and_up(k: int, n: int, packing: tuple[int, int, str], dtype: mx.Dtype) -> tuple[Packed, Packed]:
    """Gate cancels, up does not: the product of both would vanish in a half."""
    return rows_of(0, n, k, packing, dtype), rows_of(1, n, k, packing, dtype, mirrored=False)


def stock_experts(
    mac: Mac, gate: Packed, up: Packed, x: mx.array, inds: mx.array, packing: tuple[int, int, str]
) -> mx.array:
    rows = mx.expand_dims(x, (-2, -3))
    return stock.swiglu(mac, *(stock_qmv.gather(mac, rows, part, inds, packing) for part in (gate, up))).squeeze(-2)


@each
def test_experts(packing: tuple[int, int, str], sizes: tuple[int, int], dtype: mx.Dtype) -> None:
    mac, (n, k) = Mac(), sizes
    gate, up = gate_and_up(k, n, packing, dtype)
    x, inds = cancelling(2, 1, 2, k, dtype=dtype), chains.chosen((1, 2), 3)
    (ours,) = run_ours(
        experts.plan(Form(Packing(*packing)), x, inds, *gate, *up, gate.scales, up.scales), mac.contraction
    )
    right = stock_experts(mac, gate, up, x, inds, packing)
    assert differing(ours, right) == 0
    if dtype == mx.bfloat16:  # in a half what is left of the sum may vanish
        assert len(np.unique(np.array(right.astype(mx.float32)))) > 5


@each
def test_down_and_combine(packing: tuple[int, int, str], sizes: tuple[int, int], dtype: mx.Dtype) -> None:
    mac, (n, k) = Mac(), sizes
    rows = rows_of(0, n, k, packing, dtype)
    h, inds = cancelling(1, 1, 2, 3, k, dtype=dtype), chains.chosen((1, 2), 3)
    scores = mx.random.uniform(0.1, 0.9, (1, 2, 3), key=mx.random.key(0)).astype(dtype)
    (ours,) = run_ours(down.plan(Form(Packing(*packing)), h, inds, scores, *rows, rows.scales), mac.contraction)
    y = stock_qmv.gather(mac, mx.expand_dims(h, -2), rows, inds, packing).squeeze(-2)
    assert differing(ours, chains.combine(mac, y, scores)) == 0


@pytest.mark.parametrize(
    "packing", [MXFP4, *(pytest.param(other, marks=pytest.mark.slow) for other in (EIGHT, MXFP8, NVFP4))]
)
def test_routed_and_shared_experts_together(packing: tuple[int, int, str]) -> None:
    mac, dtype, (n, k), places = Mac(), mx.bfloat16, FAST, 3
    how, inds = Packing(*packing), chains.chosen((1, 1), places)
    gate, up = gate_and_up(k, n, packing, dtype)
    of_one = [Packed(*(part[-1] for part in rows)) for rows in (gate, up)]
    x = cancelling(2, 1, 1, k, dtype=dtype)
    (h,) = run_ours(together.plan_experts(how, x, inds, *gate, *up, *of_one[0], *of_one[1]), mac.contraction)
    shared = stock.swiglu(mac, *(stock_qmv.dense_row(mac, x, rows, packing) for rows in of_one))
    routed = stock_experts(mac, gate, up, x, inds, packing)
    assert differing(h, mx.concatenate([routed.reshape(places, n), shared.reshape(1, n)])) == 0

    rows = rows_of(3, n, k, packing, dtype)
    one, h = Packed(*(part[-1] for part in rows)), cancelling(4, places + 1, k, dtype=dtype)
    scores = mx.random.uniform(0.1, 0.9, (1, 1, places), key=mx.random.key(0))
    (out,) = run_ours(together.plan_downs(how, h, inds, scores, *rows, *one), mac.contraction)
    y = stock_qmv.gather(mac, h[:places].reshape(1, 1, places, 1, k), rows, inds, packing).squeeze(-2)
    last = stock_qmv.dense_row(mac, h[places:].reshape(1, 1, k), one, packing)
    assert differing(out, stock.binary(mac, "Add", chains.combine(mac, y, scores), last)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("packing", [EIGHT, MXFP4, MXFP8])
def test_the_other_wheel_and_unfused(packing: tuple[int, int, str]) -> None:
    n, k = FAST
    gate, up = gate_and_up(k, n, packing, mx.bfloat16)
    x, inds = cancelling(2, 1, 1, k, dtype=mx.bfloat16), chains.chosen((1, 1), 3)
    for mac in (Mac("macos26"), Mac(contraction="separate")):
        (ours,) = run_ours(
            experts.plan(Form(Packing(*packing)), x, inds, *gate, *up, gate.scales, up.scales), mac.contraction
        )
        assert differing(ours, stock_experts(mac, gate, up, x, inds, packing)) == 0


@pytest.mark.parametrize(
    ("packing", "right", "wrong"),
    [
        (MXFP4, "FLOATS ? mul_rn(scale, dot)", "FLOATS ? dot"),
        (MXFP4, "(code & 8) != 0", "(code & 8) == 8 && false"),
        (
            MXFP4,
            "x[0] * q[0] + x[1] * q[1] + x[2] * q[2] + x[3] * q[3]",
            "x[3] * q[3] + x[2] * q[2] + x[1] * q[1] + x[0] * q[0]",
        ),
        (EIGHT, "sum = add_rn(sum, values[i]);", "sum = add_rn(values[i], sum) * (i == 1 ? 1.0000001f : 1.0f);"),
    ],
)
def test_a_planted_error_is_seen(packing: tuple[int, int, str], right: str, wrong: str) -> None:
    mac, (n, k) = Mac(), FAST
    gate, up = gate_and_up(k, n, packing, mx.bfloat16)
    x, inds = cancelling(2, 1, 1, k, dtype=mx.bfloat16), chains.chosen((1, 1), 3)
    launch = changed(experts.plan(Form(Packing(*packing)), x, inds, *gate, *up, gate.scales, up.scales), right, wrong)
    (ours,) = run_ours(launch, "separate" if "q[3]" in right else mac.contraction)
    assert differing(ours, stock_experts(mac, gate, up, x, inds, packing)) > 0


@pytest.mark.parametrize(
    "packing", [EIGHT, MXFP4, *(pytest.param(each, marks=pytest.mark.slow) for each in (MXFP8, NVFP4))]
)
def test_the_shipped_kernels_compute_what_mlx_does_on_the_cpu(packing: tuple[int, int, str]) -> None:
    """The same quantity in float32, not the same bits."""
    n, k = FAST
    gate, up = gate_and_up(k, n, packing, mx.bfloat16)
    x = mx.random.normal((1, 1, k), key=mx.random.key(1)).astype(mx.bfloat16)
    inds = chains.chosen((1, 1), 3)
    group, bits, mode = packing
    scaled = [
        (part.w, *((s.astype(mx.float32) for s in part[1:]) if mode == "affine" else (part.scales, None)))
        for part in (gate, up)
    ]
    rows = mx.expand_dims(x.astype(mx.float32), (-2, -3))
    how = {"transpose": True, "group_size": group, "bits": bits, "mode": mode}
    g, u = (mx.gather_qmm(rows, *part, rhs_indices=inds, **how, stream=mx.cpu) for part in scaled)
    expected = np.array((nn.silu(g) * u).squeeze(-2))
    got = np.array(stock_experts(Mac(), gate, up, x, inds, packing).astype(mx.float32))
    assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()
