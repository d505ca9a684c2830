"""The GPU kernels at their sites of the tiny models, run by the shim: decode says what the unpatched model says."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache

from tests.kernels import gpu
from tests.tiny import Tiny
from zmlx_bench.measured.apply import Patch
from zmlx_bench.measured.contract import Binding

pytestmark = pytest.mark.process

PROMPT, STEPS = (5, 6, 7), ((8,), (20,))


def on_metals_words(launch: Any) -> list[mx.array]:
    return gpu.run(launch, "metal")


def combine(family: str, block: Any) -> Any:
    plan = gpu.module("moe_combine.gpu").plan
    return lambda y, scores: on_metals_words(plan("stock", y, scores))[0]


def router(family: str, block: Any) -> Any:
    kernel = gpu.module("moe_router.kernel")
    if family == "qwen3":
        return kernel.softmax_router(block, "stock", "metal", gpu.settle("metal"))
    return kernel.sigmoid_bias_router(block.gate, gpu.settle("metal"))


def residual_norm(family: str, norm: Any) -> Any:
    return gpu.module("residual_norm.kernel").stock(norm, "metal", gpu.settle("metal"))


def qk_norm_rope(family: str, attention: Any) -> Any:
    return gpu.module("qk_norm_rope.kernel").stock(attention, "metal", gpu.settle("metal"))


def qkv_norm_rope(family: str, attention: Any) -> Any:
    return gpu.module("qkv_norm_rope.kernel").qkv_norm_rope(attention, "metal", gpu.settle("metal")).call


def logits(model: Any, batch: int) -> list[mx.array]:
    """Logits of a prompt and of decode steps with given tokens, which do not depend on a near tie."""
    cache = make_prompt_cache(model)
    found = [model(mx.array([tokens] * batch), cache=cache) for tokens in (PROMPT, *STEPS)]
    mx.eval(found)
    return [out.astype(mx.float32) for out in found]


def unlikeness(ours: mx.array, theirs: mx.array) -> float:
    """Root mean square difference in standard deviations of the logits."""
    return float(mx.sqrt(mx.mean((ours - theirs) ** 2) / mx.var(theirs)).item())


BOUND = {("combine",): combine, ("router",): router, ("residual_norm",): residual_norm}
OF_QWEN = ({("qk_norm_rope",): qk_norm_rope}, {("qkv", "qk_norm_rope"): qkv_norm_rope})


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("family", "more"), [("qwen3", OF_QWEN[0]), ("qwen3", OF_QWEN[1]), ("glm47", {})])
def test_decode_is_near_the_unpatched_models(family: str, more: dict[tuple[str, ...], Any], batch: int) -> None:
    model = Tiny.load(family)
    stock = logits(model.model, batch)
    kernels = BOUND | more
    bound = []
    for host in model.hosts():
        bindings = {
            sites: tuple(Binding(bind(family, module)) for module in host.modules(sites))
            for sites, bind in kernels.items()
            if host.offers(sites)
        }
        if bindings:
            bound.append((host, bindings, 4))
    patch = Patch(bound)
    patch.install(count=True)
    patched = logits(model.model, batch)
    patch.undo()
    passes = len(STEPS) + (len(PROMPT) * batch <= 4)
    assert set(patch.calls) == {site for sites in kernels for site in sites}
    assert patch.calls["combine"] == model.moe_layers * passes
    assert patch.calls["residual_norm"] == model.adds * passes
    # The CPU's own roundings differ from the GPUs' that the kernels have, so the measure is what rounding to
    # bfloat16 does to this model at all.
    model.model.set_dtype(mx.float32)
    unrounded = logits(model.model, batch)
    assert max(map(unlikeness, patched, stock)) < 1.5 * max(map(unlikeness, unrounded, stock))
