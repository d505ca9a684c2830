"""Joined projections: the same bits, called where they say, memory as before, and undone without a trace."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests.tiny import Tiny, equal, resting_memory
from tests.variants import variant
from zmlx_bench.catalog import kernels
from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import BindRequest, Unavailable
from zmlx_bench.workspace import Workspace


def test_logits_are_stocks_over_a_prompt_and_decode_steps(tiny: Tiny, repository: Workspace) -> None:
    stock = tiny.logits()
    patch = tiny.patch(variant(tiny.name, "qkv=qkv_joined"), repository.kernels)
    try:
        assert equal(tiny.logits(), stock)
    finally:
        patch.undo()
    assert not any(mx.isnan(part).any().item() for part in stock)


def test_it_is_called_once_in_every_layer_and_never_in_a_prompt(tiny: Tiny, repository: Workspace) -> None:
    most = kernels.load(repository)["qkv_joined"].most_tokens
    patch = tiny.patch(variant(tiny.name, "qkv=qkv_joined"), repository.kernels, {"qkv_joined": most})
    assert most is not None
    prompt = range(9, 9 + 5 * most)
    stock = tiny.logits(prompt, steps=5)
    try:
        patch.install(count=True)
        assert equal(tiny.logits(prompt, steps=5), stock)
        # None for the prompt: MLX on Metal multiplies its joined rows in another order.
        assert patch.calls["qkv"] == 5 * tiny.layers
    finally:
        patch.undo()


def test_memory_does_not_grow_and_comes_back(tiny: Tiny, repository: Workspace) -> None:
    tiny.logits()
    before, state = resting_memory(), tiny.state()
    patch = tiny.patch(variant(tiny.name, "qkv=qkv_joined"), repository.kernels)
    assert resting_memory() <= before + 4096
    patch.undo()
    assert tiny.state() == state
    assert resting_memory() <= before + 4096


class _Attention(nn.Module):
    def __init__(self, **changes: Any) -> None:
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj"):
            settings = {"group_size": 64, "bits": 4, "bias": False} | (changes if name == "v_proj" else {})
            self[name] = nn.QuantizedLinear(64, 64, **settings)


@pytest.mark.parametrize("changes", [{"bits": 8}, {"group_size": 32}, {"bias": True}])
def test_projections_that_differ_are_refused_in_a_plain_sentence(
    repository: Workspace, changes: dict[str, Any]
) -> None:
    loader.open_kernels(repository.kernels)
    bind = loader.load_bind("qkv_joined")
    with pytest.raises(Unavailable, match="one bit width and group size without bias"):
        bind(_Attention(**changes), BindRequest(("qkv",), "stock", "cpu"))


def test_unquantised_projections_are_refused(repository: Workspace) -> None:
    loader.open_kernels(repository.kernels)
    attention = _Attention()
    attention["q_proj"] = nn.Linear(64, 64)
    with pytest.raises(Unavailable, match="affine quantised"):
        loader.load_bind("qkv_joined")(attention, BindRequest(("qkv",), "stock", "cpu"))
