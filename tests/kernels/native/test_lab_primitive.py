"""The kernel of the lab's primitive in the tiny models, with our native extension under the primitive's name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests import lab_mlx
from tests.tiny import Tiny, equal
from tests.variants import variant
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.model

KERNEL = "experts=mlx_gather_qmm_swiglu.primitive"


@pytest.fixture
def brought(native: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's MLX has the primitive."""
    monkeypatch.setattr(mx, "gather_qmm_swiglu", lab_mlx.primitive(native), raising=False)


@pytest.mark.usefixtures("brought")
def test_logits_of_every_family_are_stocks(tiny: Tiny, repository: Workspace) -> None:
    stock = tiny.logits(steps=2, batch=2)
    state = tiny.state()
    patch = tiny.patch(variant(tiny.name, KERNEL), repository.kernels)
    patch.install(count=True)
    patched = tiny.logits(steps=2, batch=2)
    calls = dict(patch.calls)
    patch.undo()
    assert equal(patched, stock)
    assert calls == {"experts": calls["experts"]}
    assert calls["experts"] > 0
    assert tiny.state() == state


def quantise(experts: Any, **entries: Any) -> None:
    for name, value in entries.items():
        setattr(experts.up_proj, name, value)


@pytest.mark.usefixtures("brought")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda experts: quantise(experts, bits=6), "weights are affine, 6 bit in groups of"),
        (lambda experts: quantise(experts, mode="mxfp4"), "weights are mxfp4, 4 bit in groups of"),
        (lambda experts: quantise(experts, bits=8), "gate and up are quantised in different ways"),
        (lambda experts: quantise(experts, bias=mx.zeros(1)), "a bias of its own"),
        (lambda experts: setattr(experts, "activation", nn.silu), "not SwiGLU"),
    ],
)
def test_experts_that_it_does_not_take_are_refused(
    repository: Workspace, change: Callable[[Any], None], says: str
) -> None:
    tiny = Tiny.load("qwen3")
    change(next(host for host in tiny.hosts() if host.offers(("experts",))).module.switch_mlp)
    with pytest.raises(Unavailable, match=says):
        tiny.patch(variant(tiny.name, KERNEL), repository.kernels)


def test_without_the_primitive_nothing_is_bound(tiny: Tiny, repository: Workspace) -> None:
    with pytest.raises(Unavailable, match="mlx_gather_qmm_swiglu needs gather_qmm_swiglu, which neither"):
        tiny.patch(variant(tiny.name, KERNEL), repository.kernels)
