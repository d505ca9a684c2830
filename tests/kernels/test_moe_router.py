"""The routers' GPU sources in the shim, bit for bit, at both models' numbers of experts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.glm4_moe_lite import group_expert_select

from tests.kernels import gpu
from tests.kernels.bf16 import Floats, read, rounded
from tests.kernels.draws import GLM, QWEN, gates
from tests.kernels.rows import butterfly_sum, exp_fast, libm, serial_sum
from tests.shim.source import Words
from tests.tiny import Tiny
from zmlx_bench.measured.contract import BindRequest, Unavailable

pytestmark = pytest.mark.process

router: Any = gpu.module("moe_router.gpu")
kernel: Any = gpu.module("moe_router.kernel")
reference: Any = gpu.module("moe_router.reference")

SCALE = 1.8
forms = pytest.mark.parametrize("words", gpu.FORMS)


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def last_ascending(values: Floats, k: int) -> np.ndarray:
    return np.argsort(values, axis=-1, kind="stable")[..., -k:]


def softmax(x: mx.array, words: Words) -> Floats:
    """Probabilities as the source's comment has them, rounded to bfloat16."""
    experts = x.shape[-1]
    reads = 4 if words == "metal" else 8
    logits = np.full((*x.shape[:-1], 32 * reads), -np.inf, np.float32)
    logits[..., :experts] = read(x)
    lanes = logits.reshape(*x.shape[:-1], 32, reads)
    top = logits.max(-1)[..., None]
    if words == "metal":
        totals = serial_sum(exp_fast(lanes - top[..., None], words))
    else:
        own = np.maximum(lanes.max(-1), np.finfo(np.float32).min)
        with np.errstate(over="ignore"):
            totals = serial_sum(exp_fast(lanes - own[..., None], words)) * exp_fast(own - top, words)
    scale = np.float32(1) / butterfly_sum(totals)[..., None]
    return rounded(exp_fast(logits - top, words) * scale)[..., :experts]


@forms
@pytest.mark.parametrize("kind", ["spread", "flat", "equal", "extreme"])
def test_qwens_router_has_stocks_roundings_order_and_ties(kind: str, words: Words) -> None:
    experts, k = QWEN
    x = gates(kind, 4, experts)
    inds, scores = gpu.run(router.plan_softmax(x, k, True, words), words)
    assert (inds.dtype, scores.dtype, inds.shape, scores.shape) == (mx.uint32, mx.bfloat16, (4, 1, k), (4, 1, k))
    p = softmax(x, words)
    chosen = last_ascending(p, k)
    np.testing.assert_array_equal(np.array(inds), chosen)
    kept = np.take_along_axis(p, chosen, -1)
    total = np.zeros(kept.shape[:-1], np.float32)
    for i in range(k):
        total = rounded(total + kept[..., i])
    np.testing.assert_array_equal(read(scores), rounded(kept / total[..., None]))
    (_, plain) = gpu.run(router.plan_softmax(x, k, False, words), words)
    np.testing.assert_array_equal(read(plain), kept)


def test_flat_logits_tie_as_probabilities_so_that_the_tie_rule_matters() -> None:
    experts, k = QWEN
    p = softmax(gates("flat", 4, experts), "metal")
    cut = np.sort(p, -1)[..., -k - 1 : -k + 1]
    assert (cut[..., 0] == cut[..., 1]).any()


@forms
@pytest.mark.parametrize("kind", ["spread", "flat", "equal", "extreme"])
def test_qwens_router_on_logits(kind: str, words: Words) -> None:
    experts, k = QWEN
    x = gates(kind, 4, experts)
    inds, scores = gpu.run(router.plan_logits(x, k), words)
    chosen = last_ascending(read(x), k)
    np.testing.assert_array_equal(np.array(inds), chosen)
    kept = np.take_along_axis(read(x), chosen, -1)
    e = exp_fast(kept - kept[..., -1:], words)
    np.testing.assert_array_equal(read(scores), rounded(e / serial_sum(e)[..., None]))


@forms
@pytest.mark.parametrize("correction_dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("kind", ["spread", "equal", "extreme"])
def test_glms_router_in_float32(kind: str, correction_dtype: mx.Dtype, words: Words) -> None:
    experts, k = GLM
    x = gates(kind, 4, experts)
    correction = mx.array(np.random.default_rng(1).normal(size=experts).astype(np.float32) * (kind != "equal"))
    correction = correction.astype(correction_dtype)
    inds, scores = gpu.run(router.plan_sigmoid(x, correction, mx.array([SCALE], mx.float32), k, True), words)
    assert (inds.dtype, scores.dtype) == (mx.uint32, mx.float32)
    y = np.float32(1) / (np.float32(1) + libm("expf", np.abs(read(x))))
    s = np.where(read(x) < 0, y, np.float32(1) - y)
    chosen = np.argsort(-(s + read(correction)), axis=-1, kind="stable")[..., :k]
    np.testing.assert_array_equal(np.array(inds), chosen)
    kept = np.take_along_axis(s, chosen, -1)
    expected = kept / (serial_sum(kept) + np.float32(1e-20))[..., None] * np.float32(SCALE)
    np.testing.assert_array_equal(read(scores), expected)


@forms
def test_the_models_own_routers_choose_the_same_experts(words: Words) -> None:
    x = gates("spread", 4, QWEN[0], seed=3)
    inds, scores = gpu.run(router.plan_softmax(x, QWEN[1], True, words), words)
    stock_inds, stock_scores = reference.softmax_router(x, QWEN[1], True)
    assert mx.array_equal(inds, stock_inds).item()
    assert mx.allclose(scores, stock_scores, rtol=2**-6).item()
    gate, correction = gates("spread", 4, GLM[0], seed=4), mx.linspace(-0.1, 0.1, GLM[0])
    inds, scores = gpu.run(router.plan_sigmoid(gate, correction, mx.array([SCALE]), GLM[1], True), words)
    stock_inds, stock_scores = group_expert_select(gate, correction, GLM[1], 1, 1, SCALE, True)
    assert mx.array_equal(mx.sort(inds, axis=-1), mx.sort(stock_inds, axis=-1)).item()
    assert mx.allclose(mx.sort(scores, axis=-1), mx.sort(stock_scores, axis=-1), rtol=1e-5).item()


@forms
@pytest.mark.parametrize(("experts", "k"), [(3, 2), (33, 8), (100, 5)])
def test_numbers_of_experts_that_do_not_fill_the_lanes(experts: int, k: int, words: Words) -> None:
    x = gates("flat", 2, experts)
    inds, _ = gpu.run(router.plan_softmax(x, k, True, words), words)
    np.testing.assert_array_equal(np.array(inds), last_ascending(softmax(x, words), k))
    inds, _ = gpu.run(router.plan_logits(x, k), words)
    np.testing.assert_array_equal(np.array(inds), last_ascending(read(x), k))
    inds, _ = gpu.run(router.plan_sigmoid(x, mx.zeros(experts), mx.array([1.0]), k, True), words)
    assert mx.array_equal(inds, reference.sigmoid_router(x, mx.zeros(experts), 1.0, k, True)[0]).item()


def test_nan_gates_stay_within_the_experts() -> None:
    x = mx.full((1, 1, QWEN[0]), float("nan"), dtype=mx.bfloat16)
    inds, scores = gpu.run(router.plan_softmax(x, QWEN[1], True, "metal"), "metal")
    assert sorted(np.array(inds).reshape(-1)) == list(range(120, 128))
    assert np.isnan(read(scores)).all()


@forms
def test_a_score_that_is_no_number_comes_after_every_number(words: Words) -> None:
    """As MLX sorts it: chosen only where too few numbers are left, the lower index first."""
    x = read(gates("spread", 2, 8))
    x[0, 0, 5] = np.nan
    x[1, 0, [0, 1, 2, 4, 5, 7]] = np.nan
    given = mx.array(x).astype(mx.bfloat16)
    inds, _ = gpu.run(router.plan_sigmoid(given, mx.zeros(8), mx.array([1.0]), 4, True), words)
    assert mx.array_equal(inds, reference.sigmoid_router(given, mx.zeros(8), 1.0, 4, True)[0]).item()
    assert 5 not in np.array(inds)[0, 0]
    assert list(np.array(inds)[1, 0, 2:]) == [0, 1]


PLANTED = {
    "a lane's experts": ("softmax", "const uint expert = lane * READS + i;", "const uint expert = lane + 32 * i;"),
    "token's row": ("softmax", "gates[t * STRIDE + expert]", "gates[expert]"),
    "probabilities not rounded": (
        "softmax",
        "float(T(mul_rn(exp_fast(values[i] - top), scale)))",
        "mul_rn(exp_fast(values[i] - top), scale)",
    ),
    "tie to the lower index": ("softmax", "pick<READS, true>", "pick<READS, false>"),
    "descending": ("softmax", "for (int r = K - 1; r >= 0; --r)", "for (int r = 0; r < K; ++r)"),
    "sum in float32": ("softmax", "float(T(add_rn(sum, weights[r])))", "add_rn(sum, weights[r])"),
    "only one lane sums": ("softmax", "simd_sum(total)", "total"),
    "diverging simd operation": (
        "softmax",
        "const float top = simd_max(own_top);",
        "float top = own_top; if (lane < 16) { top = simd_max(own_top); }",
    ),
    "tie to the higher index": ("sigmoid", "pick<READS, false>", "pick<READS, true>"),
    "scores keep the correction": ("sigmoid", "weights[r] = simd_max(own);", "weights[r] = sorted_float(picked.key);"),
    "scale left out": ("sigmoid", ", scale[0])", ", 1.0f)"),
    "sign of the sigmoid": ("sigmoid", "x < 0.0f ? y : add_rn(1.0f, -y)", "x > 0.0f ? y : add_rn(1.0f, -y)"),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_is_found(error: str) -> None:
    which, right, wrong = PLANTED[error]
    correction = mx.linspace(-0.1, 0.1, GLM[0])
    launches = []
    for kind in ("spread", "flat", "equal"):
        if which == "softmax":
            launches.append(router.plan_softmax(gates(kind, 4, QWEN[0]), QWEN[1], True, "metal"))
        else:
            bias = correction if kind == "spread" else 0 * correction
            launches.append(router.plan_sigmoid(gates(kind, 4, GLM[0]), bias, mx.array([SCALE]), GLM[1], True))
    assert not all(
        gpu.passes(gpu.mutated(launch, right, wrong), gpu.run(launch, "metal"), "metal") for launch in launches
    )


def test_binding_refuses_what_it_does_not_serve() -> None:
    block = SimpleNamespace(gate=list, top_k=8, norm_topk_prob=True, num_experts=256)
    with pytest.raises(Unavailable, match="top-8 of 256 experts"):
        kernel.softmax_router(block, "stock", "metal", list)
    block = SimpleNamespace(gate=list, top_k=8, norm_topk_prob=False, num_experts=128)
    with pytest.raises(Unavailable, match="normalised"):
        kernel.softmax_router(block, "logits_topk", "metal", list)
    with pytest.raises(Unavailable, match="8 groups"):
        kernel.sigmoid_bias_router(SimpleNamespace(n_group=8), list)
    if not mx.metal.is_available():
        with pytest.raises(Unavailable, match="needs"):
            kernel.bind(None, BindRequest(("router",), "stock", "metal"))


@forms
@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_bound_to_the_tiny_models_blocks(family: str, words: Words) -> None:
    model = Tiny.load(family)
    (block, *_) = [host.module for host in model.hosts() if host.offers(("router",))]
    x = mx.random.normal((2, 1, model.model.args.hidden_size), key=mx.random.key(0)).astype(mx.bfloat16)
    if family == "qwen3":
        bound = kernel.softmax_router(block, "stock", words, gpu.settle(words))
        stock = reference.softmax_router(block.gate(x), block.top_k, block.norm_topk_prob)
    else:
        bound = kernel.sigmoid_bias_router(block.gate, gpu.settle(words))
        stock = block.gate(x)
    inds, scores = bound(x)
    assert (inds.shape, scores.shape, scores.dtype) == (stock[0].shape, stock[1].shape, stock[1].dtype)
    assert mx.array_equal(mx.sort(inds, axis=-1), mx.sort(stock[0], axis=-1)).item()
    assert mx.allclose(mx.sort(scores, axis=-1), mx.sort(stock[1], axis=-1), rtol=2**-6).item()
