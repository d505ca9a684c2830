"""Qwen's decode step on an NVIDIA GPU, launch by launch and as a whole, against the unpatched layers, bit for bit."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache

from tests.families import family
from tests.kernels import on_gpu
from tests.kernels.experts import HIDDEN, activations
from zmlx_bench.measured import loader, synthetic
from zmlx_bench.measured.apply import Patch
from zmlx_bench.measured.contract import Binding

WHOLE = ("qkv", "qk_norm_rope", "residual_norm", "router", "experts", "down", "combine")
pytestmark = on_gpu.NVIDIA

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
KINDS = ("normal", "saturating", "tiny", "one", "zero")
kinds = pytest.mark.parametrize("kind", KINDS)
OFFSETS = (0, 37, 1023)
Model = Any


def part(name: str) -> Any:
    return importlib.import_module(f"zmlx_kernels.{name}")


@pytest.fixture(scope="module", params=[mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
def model(request: pytest.FixtureRequest, gpu_as_default: None) -> Model:
    """Three layers of the published sizes with a small vocabulary."""
    built = synthetic.build(family("qwen3"), 0, layers=3, sizes={"vocab_size": 4096})
    built.set_dtype(request.param)
    mx.eval(built.parameters())
    return built


def bits_of(*arrays: mx.array) -> list[Any]:
    return [mx.view(each, mx.uint16).tolist() for each in arrays]


def drawn(model: Model, kind: str, seed: int) -> mx.array:
    return activations(kind, 1, 1, HIDDEN, dtype=model.model.norm.weight.dtype, seed=seed)


@kinds
def test_add_norm_and_gate_are_stocks(model: Model, kind: str) -> None:
    layer, cuda = model.layers[1], part("decoder_step.cuda")
    norm, gate = layer.post_attention_layernorm, layer.mlp.gate
    launch = part("_lib.gpu.cuda").prepare(cuda.plan_gates(norm, gate))
    for seed in range(4):
        x, r = drawn(model, kind, seed), drawn(model, "normal", seed + 9)
        ours = launch(inputs=[x, r, norm.weight, gate.weight, gate.scales, gate.biases])
        normed = norm(x + r)
        assert bits_of(*ours) == bits_of(x + r, normed, gate(normed))


@kinds
def test_router_and_experts_are_stocks(model: Model, kind: str) -> None:
    block, cuda, packed = model.layers[1].mlp, part("decoder_step.cuda"), part("_lib.gpu.packed")
    launch = part("_lib.gpu.cuda").prepare(cuda.plan_experts(block))
    weights = (*packed.weights_of(block.switch_mlp.gate_proj), *packed.weights_of(block.switch_mlp.up_proj))
    for seed in range(4):
        x = drawn(model, kind, seed)
        gates = block.gate(x)
        p = mx.softmax(gates, axis=-1, precise=True)
        inds = mx.argpartition(p, kth=-8, axis=-1)[..., -8:]
        scores = mx.take_along_axis(p, inds, axis=-1)
        h, chosen, weighted = launch(inputs=[x, gates, *weights])
        assert mx.array_equal(chosen, inds.reshape(-1)).item()
        expanded = mx.expand_dims(x, (-2, -3))
        switch = block.switch_mlp
        stock = switch.activation(switch.up_proj(expanded, inds), switch.gate_proj(expanded, inds)).squeeze(-2)
        assert bits_of(h, weighted) == bits_of(stock, scores / mx.sum(scores, axis=-1, keepdims=True))


@kinds
def test_add_norm_projection_and_heads_are_stocks(model: Model, kind: str) -> None:
    bound = part("decoder_step.kernel").decoder_step(model.model)
    reference = part("decoder_step.reference").decoder_step(model.model)
    try:
        for seed, offset in enumerate(OFFSETS):
            h, at = drawn(model, kind, seed), mx.array([offset], mx.int32)
            assert bits_of(*bound.call.head(h, at)) == bits_of(*reference.head(h, at))
            out = activations("normal", 1, 32, 128, dtype=h.dtype, seed=seed)[:, :, None]
            ours = bound.call.between[0](out, h, at)
            stock = reference.between[0](out, h, at)
            assert bits_of(*ours) == bits_of(*stock)
            assert bits_of(bound.call.tail(out, h)) == bits_of(reference.tail(out, h))
    finally:
        bound.undo()


def said(model: Model, tokens: int) -> list[mx.array]:
    """Logits of a prompt and of greedy steps after it."""
    cache = make_prompt_cache(model)
    logits = [model(mx.array([list(range(5, 40))]), cache=cache)[:, -1:]]
    for _ in range(tokens):
        logits.append(model(mx.argmax(logits[-1], axis=-1), cache=cache))
    mx.eval(logits)
    return logits


@pytest.mark.parametrize("trace", ["0", "1"])
def test_a_model_says_the_same_bits(model: Model, trace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fewer than 256 keys: from there on stock's own attention does not repeat its bits.
    monkeypatch.setenv("ZMLX_TRACE", trace)
    stock = said(model, 200)
    (host,) = (each for each in family("qwen3").hosts(model) if each.offers(WHOLE))
    bound: Binding = part("decoder_step.kernel").decoder_step(model.model)
    patch = Patch([(host, {WHOLE: (bound,)}, 1)])
    patch.install(count=False)
    ours = said(model, 200)
    patch.undo()
    assert [step for step, (a, b) in enumerate(zip(ours, stock, strict=True)) if bits_of(a) != bits_of(b)] == []


@pytest.mark.parametrize("trace", ["0", "1"])
def test_steps_that_are_put_together_before_any_is_evaluated(
    model: Model, trace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing orders their first launches: every step counts its blocks for itself."""
    monkeypatch.setenv("ZMLX_TRACE", trace)

    def forced() -> list[mx.array]:
        caches = [make_prompt_cache(model) for _ in range(2)]
        found = [model(mx.array([list(range(5, 40))]), cache=cache)[:, -1:] for cache in caches]
        mx.eval(found)
        for token in range(40, 70):
            found += [model(mx.array([[token + at]]), cache=cache) for at, cache in enumerate(caches)]
        mx.eval(found)
        return found

    stock = forced()
    (host,) = (each for each in family("qwen3").hosts(model) if each.offers(WHOLE))
    patch = Patch([(host, {WHOLE: (part("decoder_step.kernel").decoder_step(model.model),)}, 1)])
    patch.install(count=False)
    for _ in range(3):
        ours = forced()
        assert [step for step, (a, b) in enumerate(zip(ours, stock, strict=True)) if bits_of(a) != bits_of(b)] == []
    patch.undo()
