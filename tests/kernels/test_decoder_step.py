"""The decode step's launches in the shim at Qwen's sizes, and its place in the model.

test_on_gpu_step.py compares the bits of what is multiplied.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache

from tests.kernels import experts, gpu
from tests.kernels.cuda_launch import ERROR, changed, error, run
from tests.kernels.experts import activations, doubles
from tests.shim.run import ShimError
from tests.tiny import Tiny
from zmlx_bench.measured.apply import Patch
from zmlx_bench.measured.contract import Binding
from zmlx_bench.measured.families.traced import traced

pytestmark = pytest.mark.process

WHOLE = ("qkv", "qk_norm_rope", "residual_norm", "router", "experts", "down", "combine")
cuda = gpu.module("decoder_step.cuda")
reference = gpu.module("decoder_step.reference")
residual_norm = gpu.module("residual_norm.gpu")
norm_rope = gpu.module("qkv_norm_rope.gpu")
router = gpu.module("moe_router.gpu")
swiglu = gpu.module("gather_qmm_swiglu.cuda")
Heads = gpu.module("qk_norm_rope.heads").Heads

D, HD, HQ, HK, EXPERTS, TOP, INNER = 2048, 128, 2, 1, 128, 8, 128
OFFSET = mx.array([37], mx.int32)
FIRST_TICKET = 5
TICKETS = HQ + HK
DTYPES = {"bf16": mx.bfloat16, "fp16": mx.float16}
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def norm_of(size: int, dtype: mx.Dtype, seed: int) -> nn.RMSNorm:
    norm = nn.RMSNorm(size, eps=1e-6)
    norm.weight = (1 + 0.3 * mx.random.normal((size,), key=mx.random.key(seed))).astype(dtype)
    return norm


class Case:
    """The inputs of every launch: h and what is added to it, norms, the heads' projection, the gate."""

    def __init__(self, dtype: mx.Dtype) -> None:
        self.dtype = dtype
        self.x = activations("normal", 1, 1, D, dtype=dtype)
        self.r = activations("normal", 1, 1, D, dtype=dtype, seed=1)
        self.norm = norm_of(D, dtype, 2)
        self.q_norm, self.k_norm = norm_of(HD, dtype, 3), norm_of(HD, dtype, 4)
        weights = self.q_norm.weight, self.k_norm.weight
        self.heads = Heads(HQ, HK, HD, 16 // dtype.size, weights, (1e-6, 1e-6), 1e6)
        self.joined = experts.packed(np.random.default_rng(5), (HQ + 2 * HK) * HD, D, dtype=dtype)
        linear = nn.Linear(D, EXPERTS, bias=False)
        linear.weight = mx.random.normal(linear.weight.shape, key=mx.random.key(7)).astype(dtype)
        self.gate = linear.to_quantized(group_size=64, bits=8)
        plan = residual_norm.plan_stock(self.x, self.r, self.norm.weight, 1e-6, "cuda")
        self.h, self.normed = gpu.run(plan, "cuda")

    def plan_heads(self, add: bool = True) -> Any:
        return cuda.plan_heads(self.norm, self.heads, D, self.dtype, add=add, first_ticket=FIRST_TICKET)

    def run_heads(self, launch: Any, x: mx.array | None = None) -> list[mx.array]:
        # What stands before the tickets is the launch's before.
        tickets = mx.array([9] * FIRST_TICKET + [0] * TICKETS, mx.uint32)
        given = self.norm.weight, *self.joined, *self.heads.weights, OFFSET, tickets
        return run(launch, self.x if x is None else x, self.r, *given)

    def run_gates(self, launch: Any) -> list[mx.array]:
        parts = self.gate.weight, self.gate.scales, self.gate.biases
        return run(launch, self.x, self.r, self.norm.weight, *parts)

    def exact_projection(self) -> np.ndarray[Any, Any]:
        layer = dict(zip(("weight", "scales", "biases"), self.joined, strict=True))
        return np.asarray(experts.exact(doubles(self.normed)[0, 0], layer)[0])

    def exact_gates(self) -> np.ndarray[Any, Any]:
        rows = mx.dequantize(self.gate.weight, self.gate.scales.astype(mx.float32), self.gate.biases.astype(mx.float32),
                             group_size=64, bits=8)  # fmt: skip
        return np.asarray(doubles(rows) @ doubles(self.normed)[0, 0])


@dtypes
def test_add_norm_projection_head_norms_and_rotation(dtype: mx.Dtype) -> None:
    case = Case(dtype)
    h, q, k, v = case.run_heads(case.plan_heads())
    assert gpu.same(h, case.h)
    exact = case.exact_projection()
    assert error(v.reshape(-1), exact[-HK * HD :]) < ERROR["slots"]
    joined = mx.array(exact.astype(np.float32)).astype(dtype).reshape(1, 1, -1)
    turned = gpu.run(norm_rope.plan(case.heads, joined, OFFSET), "cuda")
    assert error(q, doubles(turned[0])) < ERROR["slots"]
    assert error(k, doubles(turned[1])) < ERROR["slots"]


def test_the_first_layer_adds_nothing() -> None:
    case = Case(mx.bfloat16)
    h, *parts = case.run_heads(case.plan_heads(add=False), case.h)
    added = case.run_heads(case.plan_heads())[1:]
    assert gpu.same(h, case.h)
    assert all(gpu.same(a, b) for a, b in zip(parts, added, strict=True))


@dtypes
def test_add_norm_and_gate(dtype: mx.Dtype) -> None:
    case = Case(dtype)
    h, normed, gates = case.run_gates(cuda.plan_gates(case.norm, case.gate))
    assert gpu.same(h, case.h)
    assert gpu.same(normed, case.normed)
    assert error(gates.reshape(-1), case.exact_gates()) < ERROR["tensor cores"]


def test_router_and_experts_are_those_of_two_launches() -> None:
    dtype = mx.bfloat16
    block = experts.block(EXPERTS, INNER, dtype=dtype)
    block.top_k, block.norm_topk_prob = TOP, True
    packed = [
        part
        for name in ("gate_proj", "up_proj")
        for part in (block.switch_mlp[name].weight, block.switch_mlp[name].scales, block.switch_mlp[name].biases)
    ]
    x, gates = activations("normal", 1, 1, D, dtype=dtype), activations("normal", 1, 1, EXPERTS, dtype=dtype, seed=6)
    h, inds, scores = run(cuda.plan_experts(block, TICKETS), x, gates, *packed)
    chosen, weights = gpu.run(router.plan_softmax(gates, TOP, True, "cuda"), "cuda")
    assert gpu.same(inds[:TOP], chosen.reshape(-1))
    assert inds[TOP:].tolist() == [0] * TICKETS
    assert gpu.same(scores, weights)
    (alone,) = run(swiglu.plan((1, 1, TOP), D, INNER, dtype, "stock"), x, chosen, *packed)
    assert gpu.same(h, alone)


PLANTED = {
    "head's rows": ("heads", "first = size_t(blockIdx.x) * OWN_ROWS", "first = size_t(blockIdx.x / PARTS) * HD"),
    "where rows go": ("heads", "of_all = int(first) + row;", "of_all = row;"),
    "another stage's scales": ("heads", "SCALE_BYTES, s + (first + row) * GROUPS", "SCALE_BYTES, s + first * GROUPS"),
    "rows of a warp": ("heads", "stage * STAGE + warp * OWN + own;", "stage * STAGE + own;"),
    "a block that is not the last turns": ("heads", "== PARTS - 1", "== 0"),
    "where tickets begin": ("heads", "+ FIRST_TICKET + head", "+ head"),
    "k's norm": ("heads", "of_q ? q_weight : k_weight", "q_weight"),
    "value's head": ("heads", "of_v = of_k - HK * HD", "of_v = of_k - HQ * HD"),
    "add left out": ("heads", "if (ADD) {", "if (false) {"),
    "norm of some warps": ("heads", "lane < THREADS / 32 ? sums[lane]", "lane < 1 ? sums[lane]"),
    "barrier after the sums": ("heads", "  __syncthreads();\n  total = simd_sum(lane", "  total = simd_sum(lane"),
    "block's rows of the gate": ("gates", "gate_w + size_t(blockIdx.x) * E * (D / 4)", "gate_w"),
    "block's scales": ("gates", "gate_s + size_t(blockIdx.x) * E * (D / GROUP)", "gate_s"),
    "where gates go": ("gates", "all_gates[blockIdx.x * E + threadIdx.x]", "all_gates[threadIdx.x]"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_is_found(planted: str) -> None:
    where, right, wrong = PLANTED[planted]
    case = Case(mx.bfloat16)
    try:
        if where == "heads":
            sound, ours = case.run_heads(case.plan_heads()), case.run_heads(changed(case.plan_heads(), right, wrong))
        else:
            launch = cuda.plan_gates(case.norm, case.gate)
            sound, ours = case.run_gates(launch), case.run_gates(changed(launch, right, wrong))
    except ShimError:
        return
    assert not all(gpu.same(a, b) for a, b in zip(ours, sound, strict=True))


def said(model: Any) -> tuple[list[int], list[mx.array]]:
    """Tokens and logits of a prompt and greedy steps after it."""
    cache = make_prompt_cache(model)
    out = model(mx.array([[5, 6, 7]]), cache=cache)[:, -1:]
    tokens, logits = [], [out]
    for _ in range(6):
        token = mx.argmax(out, axis=-1)
        tokens.append(int(token.item()))
        out = model(token, cache=cache)
        logits.append(out)
    return tokens, logits


def installed(model: Tiny, made: Any, *, count: bool) -> Patch:
    (host,) = (each for each in model.hosts() if each.offers(WHOLE))
    (stack,) = host.modules(WHOLE)
    patch = Patch([(host, {WHOLE: (Binding(made(reference.decoder_step(stack))),)}, 1)])
    patch.install(count=count)
    return patch


@pytest.mark.parametrize("trace", ["0", "1"])
def test_decode_of_one_sequence_goes_by_the_steps(trace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Tiny.load("qwen3")
    stock = said(model.model)
    monkeypatch.setenv("ZMLX_TRACE", trace)
    patch = installed(model, lambda steps: steps, count=True)
    counted = said(model.model)
    assert dict(patch.calls) == dict.fromkeys(WHOLE, 6)
    patch.install(count=False)
    patched = said(model.model)
    patch.undo()
    for found in (counted, patched):
        assert found[0] == stock[0]
        assert all(mx.array_equal(a, b).item() for a, b in zip(found[1], stock[1], strict=True))
    assert mx.array_equal(said(model.model)[1][-1], stock[1][-1]).item()


def test_traced_steps_are_put_together_once() -> None:
    model = Tiny.load("qwen3")
    calls = 0

    def counting(steps: Any) -> Any:
        def tail(*given: mx.array) -> Any:
            nonlocal calls
            calls += 1
            return steps.tail(*given)

        return traced(type(steps)(steps.head, steps.between, tail))

    patch = installed(model, counting, count=False)
    said(model.model)
    patch.undo()
    assert calls == 1


def test_several_sequences_run_the_unpatched_steps() -> None:
    model = Tiny.load("qwen3")
    patch = installed(model, lambda steps: steps, count=True)
    cache = make_prompt_cache(model.model)
    mx.eval(model.model(mx.array([[5, 6], [7, 8]]), cache=cache), model.model(mx.array([[9], [10]]), cache=cache))
    patch.undo()
    assert not patch.calls
