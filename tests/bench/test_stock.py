"""The stock steps, which stand where no kernel does and beside which kernels are measured, have the model's bits."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.base import scaled_dot_product_attention

from tests.bench.tiny_sizes import SIZES
from tests.families import family as family_of
from zmlx_bench.bench import modules
from zmlx_bench.bench.modules import Layer
from zmlx_bench.measured.inputs import Filled, Sizes, ready

CONTEXT = 21
MOE = ("router", "experts", "down", "combine")


@pytest.fixture(scope="module", params=["qwen3", "glm47"])
def family(request: pytest.FixtureRequest) -> str:
    mx.set_default_device(mx.cpu)
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def layer(family: str) -> Layer:
    return modules.build(family_of(family), 3, SIZES[family], whole_vocabulary=False)


def only(layer: Layer, *sites: str) -> Any:
    [place] = layer.places(sites)
    return place.module


def steps(layer: Layer, *sites: str) -> Any:
    found = layer.places(sites)[0].span
    assert found is not None
    return found


def same(a: mx.array, b: mx.array) -> bool:
    return a.dtype == b.dtype and bool(mx.array_equal(a, b).item())


@pytest.mark.parametrize("batch", [1, 3])
def test_the_moe_block(family: str, layer: Layer, batch: int) -> None:
    block = only(layer, "router")
    line = steps(layer, *MOE)
    inputs = line.draw(block, Sizes(layer.config, batch, CONTEXT))
    (out,) = line.stock(block)(**inputs)
    if family == "glm47":
        whole = steps(layer, *MOE, "shared_experts")
        assert same(whole.stock(block)(**inputs)[0], block(inputs["x"]))
        (shared,) = steps(layer, "shared_experts").stock(only(layer, "shared_experts"))(x=inputs["x"])
        out = out + shared
    assert same(out, block(inputs["x"]))


@pytest.mark.parametrize("batch", [1, 3])
def test_qwens_attention(layer: Layer, family: str, batch: int) -> None:
    if family != "qwen3":
        pytest.skip("GLM's has a test of its own")
    attention = only(layer, "qkv")
    line = steps(layer, "qkv", "qk_norm_rope")
    sizes = Sizes(layer.config, batch, CONTEXT)
    inputs = line.draw(attention, sizes)
    filled = Filled(*(sizes.normal(batch, attention.n_kv_heads, CONTEXT, layer.config["head_dim"]) for _ in "kv"))
    q, k, v = line.stock(attention)(**inputs)
    keys, values = filled.cache().update_and_fetch(k, v)
    out = scaled_dot_product_attention(q, keys, values, cache=None, scale=attention.scale, mask=None)
    out = attention.o_proj(out.transpose(0, 2, 1, 3).reshape(batch, 1, -1))
    assert same(out, attention(inputs["x"], None, filled.cache()))


@pytest.mark.parametrize("batch", [1, 3])
def test_glms_attention(layer: Layer, family: str, batch: int) -> None:
    if family != "glm47":
        pytest.skip("Qwen's has a test of its own")
    attention = only(layer, "attention")
    line = steps(layer, "qkv", "qk_norm_rope", "attention")
    inputs = line.draw(attention, Sizes(layer.config, batch, CONTEXT))
    (out,) = line.stock(attention)(**ready(inputs))
    out = attention.o_proj(attention.unembed_out(out).transpose(0, 2, 1, 3).reshape(batch, 1, -1))
    assert same(out, attention(inputs["x"], None, inputs["cache"].cache()))


def test_every_run_of_steps_has_inputs(layer: Layer) -> None:
    for host in layer.hosts:
        for run in host.block.runs():
            module = host.modules(run.sites)[0]
            inputs = run.draw(module, Sizes(layer.config, 2, CONTEXT))
            outputs = run.stock(module)(**ready(inputs))
            mx.eval(outputs)
            assert tuple(inputs) == run.inputs
            assert len(outputs) == len(run.outputs)
            assert run.weight_bytes(module, inputs) <= modules.held(module)
            assert all(out.shape[0] == 2 for out in outputs)


def test_a_whole_decode_step_is_no_run_of_one_module(family: str, layer: Layer) -> None:
    whole = [place for host in layer.hosts if host.whole for place in layer.places(host.whole_sites)]
    router = {"qwen3": "softmax", "glm47": "sigmoid_bias"}[family]
    assert [(place.span, place.kinds) for place in whole] == [(None, {"router": router})]
