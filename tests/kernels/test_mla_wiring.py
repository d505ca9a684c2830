"""GLM's attention kernels in the tiny model, run by the shim: decode says what the unpatched model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache

from tests.kernels import gpu
from tests.tiny import Tiny
from zmlx_bench.measured.apply import Patch
from zmlx_bench.measured.contract import Binding, Split
from zmlx_bench.measured.families.glm47.attention import WHOLE

pytestmark = pytest.mark.process

PROMPT, STEPS = (5, 6, 7), ((8,), (20,), (9,))
FRONT = WHOLE[:2]
Bind = Callable[[Any], Binding]


def front(attention: Any) -> Binding:
    kernel = gpu.module("mla_norm_rope.kernel")
    matmul, undo = kernel.joined_projection(attention)
    between = kernel.norm_rope(attention, "cuda", gpu.settle("cuda"))
    return Binding(lambda x, offset: between(matmul(x), offset), undo)


def whole(mode: str) -> Bind:
    def bind(attention: Any) -> Binding:
        kernel = gpu.module("mla_attention.kernel")
        between, attend = kernel.after_projection(attention, mode, "cuda", gpu.settle("cuda"))
        matmul, undo = gpu.module("mla_norm_rope.kernel").joined_projection(attention)
        return Binding(Split(lambda x, offset: between(matmul(x), offset), attend), undo)

    return bind


def float32_attention(attention: Any) -> Binding:
    kernel = gpu.module("mla_decode.kernel")
    sizes = kernel.sizes_of(attention)
    return Binding(kernel.in_float32(sizes, attention.scale, gpu.settle("cuda"), "cuda"))


BOUND: dict[str, dict[tuple[str, ...], Bind]] = {
    "front": {FRONT: front},
    "front and float32 attention": {FRONT: front, ("attention",): float32_attention},
    "whole, stock": {WHOLE: whole("stock")},
    "whole, float32": {WHOLE: whole("fp32")},
}


def logits(model: Any, batch: int) -> list[mx.array]:
    cache = make_prompt_cache(model)
    found = [model(mx.array([tokens] * batch), cache=cache) for tokens in (PROMPT, *STEPS)]
    mx.eval(found)
    return [out.astype(mx.float32) for out in found]


def unlikeness(ours: mx.array, theirs: mx.array) -> float:
    """Root mean square difference in standard deviations of the logits."""
    return float(mx.sqrt(mx.mean((ours - theirs) ** 2) / mx.var(theirs)).item())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", BOUND)
def test_decode_is_near_the_unpatched_models(name: str, batch: int) -> None:
    tiny = Tiny.load("glm47")
    stock, state = logits(tiny.model, batch), tiny.state()
    bound = []
    for host in tiny.hosts():
        bindings = {
            sites: tuple(bind(module) for module in host.modules(sites))
            for sites, bind in BOUND[name].items()
            if host.offers(sites)
        }
        if bindings:
            bound.append((host, bindings, 4))
    patch = Patch(bound)
    patch.install(count=True)
    patched = logits(tiny.model, batch)
    patch.undo()
    assert tiny.state() == state
    sites = {site for fused in BOUND[name] for site in fused}
    assert patch.calls == dict.fromkeys(sites, tiny.layers * len(STEPS))
    assert all(mx.array_equal(a, b).item() for a, b in zip(patched[:1], stock[:1], strict=True))
    # The CPU's own roundings differ from the GPUs' that the kernels have, so the measure is what rounding to
    # bfloat16 does to this model at all.
    tiny.model.set_dtype(mx.float32)
    unrounded = logits(tiny.model, batch)
    assert max(map(unlikeness, patched, stock)) < 1.5 * max(map(unlikeness, unrounded, stock))
