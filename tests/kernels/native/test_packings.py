"""Every packing, each projection in its own, through `bind`; and what is declared."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models.activations import SwigluOAI
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwiGLU, SwitchGLU

from tests.families import family as family_of
from tests.kernels.declared import served
from tests.tiny import Tiny, equal
from zmlx_bench.catalog import kernels
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured import loader, synthetic
from zmlx_bench.measured.contract import BindRequest, Unavailable
from zmlx_bench.workspace import Workspace

from .made import PACKINGS, Packing, assert_same_bits, values

EXPERTS, HIDDEN, INNER, TOP_K = 4, 128, 256, 3
FOUR = {"group_size": 64, "bits": 4, "mode": "affine"}
NATIVE = ("native_linear", "native_experts", "native_moe", "native_down_combine", "native_router")


def block(packings: Mapping[str, Packing], activation: Any = None, bias: bool = False) -> Any:
    """A MoE block as far as its routed experts go; a projection without a packing stays as it is."""
    switch = SwitchGLU(HIDDEN, INNER, EXPERTS, SwiGLU() if activation is None else activation, bias=bias)
    switch.set_dtype(mx.bfloat16)
    for name, packing in packings.items():
        switch[name] = switch[name].to_quantized(**packing)
        if bias:
            switch[name].bias = values(np.random.default_rng(1), switch[name].bias.shape, mx.bfloat16, "ordinary")
    return SimpleNamespace(switch_mlp=switch)


def bound(kernel: str, module: Any, *sites: str) -> Any:
    return loader.load_bind(kernel)(module, BindRequest(sites, "stock", "cpu")).call


def inputs() -> tuple[mx.array, mx.array, mx.array]:
    rng = np.random.default_rng(0)
    inds = mx.array(rng.integers(0, EXPERTS, size=(1, 2, TOP_K)).astype(np.uint32))
    return values(rng, (1, 2, HIDDEN), mx.bfloat16, "ordinary"), inds, values(rng, inds.shape, mx.bfloat16, "ordinary")


def assert_stocks(module: Any) -> None:
    x, inds, scores = inputs()
    y = module.switch_mlp(x, inds)
    stock = (y * scores[..., None]).sum(axis=-2).astype(y.dtype)
    assert_same_bits(bound("native_moe", module, "experts", "down", "combine")(x, inds, scores), stock)
    h = bound("native_experts", module, "experts")(x, inds)
    assert_same_bits(bound("native_down_combine", module, "down", "combine")(h, inds, scores), stock)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("packing", PACKINGS, ids=lambda each: "-".join(map(str, each.values())))
def test_experts_and_a_layer_of_every_packing(packing: Packing) -> None:
    assert_stocks(block(dict.fromkeys(("gate_proj", "up_proj", "down_proj"), packing)))
    layer = nn.Linear(HIDDEN, 40, bias=True)
    layer.set_dtype(mx.bfloat16)
    quantized = nn.QuantizedLinear.from_linear(layer, **packing)
    assert_same_bits(bound("native_linear", quantized, "linear")(x=inputs()[0]), quantized(inputs()[0]))


@pytest.mark.usefixtures("native")
def test_each_projection_has_a_packing_of_its_own() -> None:
    six, mxfp4 = PACKINGS[5], next(each for each in PACKINGS if each["mode"] == "mxfp4")
    assert_stocks(block({"gate_proj": FOUR, "up_proj": mxfp4, "down_proj": six}))


@pytest.mark.usefixtures("native")
def test_biases_and_the_clamped_activation_are_served() -> None:
    mxfp4 = next(each for each in PACKINGS if each["mode"] == "mxfp4")
    assert_stocks(block(dict.fromkeys(("gate_proj", "up_proj", "down_proj"), mxfp4), SwigluOAI(limit=1.5), bias=True))


SMALL = {
    "vocab_size": 256, "hidden_size": 128, "num_hidden_layers": 3, "intermediate_size": 128, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 64, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128,
}  # fmt: skip


@pytest.mark.model
@pytest.mark.usefixtures("native")
def test_a_model_of_which_every_layer_is_packed_in_another_way(repository: Workspace) -> None:
    """As mixed checkpoints are: each module has the next of all packings."""
    packings = itertools.cycle(PACKINGS)

    def mixed(path: str, module: Any, settings: Packing, gains: Any) -> Any:
        del settings
        return synthetic.quantised(path, module, next(packings), gains)

    family = family_of("qwen3")
    model = synthetic.build(family, 3, sizes=SMALL, quantise=mixed)
    tiny = Tiny(family, model, SMALL["num_hidden_layers"], SMALL["num_hidden_layers"])
    stock = tiny.logits(steps=3)
    patch = tiny.patch(Catalog(repository, "qwen3").resolve("qwen_native"), repository.kernels)
    patch.install(count=True)
    native = tiny.logits(steps=3)
    patch.undo()
    assert equal(native, stock)
    assert set(patch.calls) == {"router", "experts", "down", "combine", "linear"}


@pytest.mark.usefixtures("native")
def test_one_sentence_says_what_is_refused() -> None:
    def refusal(module: Any) -> str:
        with pytest.raises(Unavailable) as caught:
            bound("native_moe", module, "experts", "down", "combine")
        return str(caught.value)

    packed = dict.fromkeys(("gate_proj", "up_proj"), FOUR)
    assert refusal(block(packed)) == "down_proj is unquantised bfloat16; MLX itself gathers float32 only on the CPU"
    plain = block(packed)
    plain.switch_mlp.down_proj.set_dtype(mx.float32)
    assert refusal(plain) == "down_proj is not quantised"
    whole = {**packed, "down_proj": FOUR}
    assert refusal(block(whole, nn.GELU())) == "the experts' activation is GELU, not SwiGLU"
    biased = block(whole)
    biased.switch_mlp.up_proj.bias = mx.zeros((EXPERTS, INNER), mx.bfloat16)
    assert refusal(biased) == "some of the experts' projections have a bias and others have none"
    scaled = block(whole)
    scaled.switch_mlp.down_proj = QuantizedSwitchLinear(
        INNER, HIDDEN, EXPERTS, False, 16, 4, mode="nvfp4", global_scale=True
    )
    assert refusal(scaled) == "down_proj has a global scale, by which MLX itself multiplies on a GPU only"
    # What they say of MLX, it says itself.
    x, inds, _ = inputs()
    for module, says in ((block(packed), "only supports float32"), (scaled, "only supported on the GPU")):
        with pytest.raises((ValueError, RuntimeError), match=says):
            mx.eval(module.switch_mlp(x, inds))


def test_declared_is_what_stock_multiplies_by(native: ModuleType, repository: Workspace) -> None:
    from zmlx_kernels._lib.native.wiring import ON_CPU

    every = {tuple(packing.values()) for packing in PACKINGS}
    declared = kernels.load(repository)
    for name in NATIVE:
        assert {tuple(each) for each in served(name, "cpu")} == {tuple(each) for each in ON_CPU} == every
        assert served(name, "cuda") == frozenset()
        assert {each.mode for each in declared[name].declaration.weights} == {"affine", "mxfp4", "mxfp8", "nvfp4"}
