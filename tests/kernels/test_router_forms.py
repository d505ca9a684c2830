"""`router_forms` bound to small random models in the shim: the model's experts, and its scores within rounding.

Bits are compared beside the shipped kernels (tests/air/test_router_forms.py): the CPU's exponentials are others.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import gpu
from tests.small_families import NAMES, sizes_of, small
from zmlx_bench.measured.contract import BindRequest, Unavailable

kernel = gpu.module("router_forms.kernel")
pytestmark = pytest.mark.process


@cache
def forms() -> dict[str, tuple[str, Any, Any]]:
    """By kind: a family that has it, what a kernel is bound to there, and the model's own step."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for name in NAMES:
        for host in small(name).hosts():
            if host.offers(("router",)):
                (step,) = [step for step in host.block.steps if step.site == "router"]
                (seen,) = host.modules(("router",))
                found.setdefault(step.kind, (name, seen, step.stock(seen)))
    return found


def test_every_kind_that_it_serves_is_a_familys() -> None:
    assert set(kernel.KINDS) < set(forms())


@pytest.mark.parametrize("kind", kernel.KINDS)
def test_it_chooses_what_the_model_chooses(kind: str) -> None:
    name, seen, stock = forms()[kind]
    x = mx.random.normal((2, 1, sizes_of(name)["hidden_size"]), key=mx.random.key(0)).astype(mx.bfloat16)
    inds, scores = kernel.KINDS[kind](seen, gpu.settle("metal"))(x)
    expected = stock(x)
    assert (inds.shape, scores.shape, scores.dtype) == (expected[0].shape, expected[1].shape, expected[1].dtype)
    order, theirs = mx.argsort(inds, axis=-1), mx.argsort(expected[0], axis=-1)
    assert mx.array_equal(mx.sort(inds, axis=-1), mx.sort(expected[0], axis=-1)).item()
    of_each = [mx.take_along_axis(a, b, axis=-1) for a, b in ((scores, order), (expected[1], theirs))]
    assert mx.allclose(*of_each, rtol=2**-6).item()


def test_binding_refuses_what_it_does_not_serve() -> None:
    block = SimpleNamespace(gate=list, top_k=65)
    with pytest.raises(Unavailable, match="chooses 65 experts; at most 64"):
        kernel.top_k_softmax(block, list)
    gate = SimpleNamespace(get=lambda _, other: other, weight=mx.zeros(1))
    scaled = SimpleNamespace(gate=gate, top_k=4, scale=1, root_size=1, eps=1, per_expert_scale=mx.zeros(1, mx.bfloat16))
    with pytest.raises(Unavailable, match="logits of another type"):
        kernel.top_k_softmax_scaled(scaled, list)
    if not mx.metal.is_available():
        with pytest.raises(Unavailable, match="needs"):
            kernel.bind(None, BindRequest(("router",), "stock", "metal"))
