"""Traced decode steps: the same tokens, and the kernels' Python runs once instead of once a token."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable

import mlx.core as mx
import pytest

from tests.tiny import Tiny
from tests.variants import variant
from zmlx_bench.measured.families.stack import TRACE
from zmlx_bench.workspace import Workspace

CUT = {"qwen3": "qkv+qk_norm_rope", "glm47": "qkv+qk_norm_rope+attention"}
STEPS = 5


def adds_made(tiny: Tiny, steps: int) -> tuple[list[mx.array], int]:
    """Logits of a prompt and decode steps, and how often the planted add and norm was called from Python."""
    profile = cProfile.Profile()
    said = profile.runcall(tiny.logits, steps=steps)
    calls = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    return said, sum(count for (_, _, name), (count, *_) in calls.items() if name == "both")


@pytest.mark.parametrize("trace", ["1", "0"])
def test_a_traced_step_is_put_together_once(
    tiny: Tiny, make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch, trace: str
) -> None:
    stock = tiny.logits(steps=STEPS)
    monkeypatch.setenv(TRACE, trace)
    sites = [f"{site}=mirror" for site in (CUT[tiny.name], "residual_norm")]
    patch = tiny.patch(variant(tiny.name, *sites), make_workspace("mirror").kernels)
    try:
        said, adds = adds_made(tiny, STEPS)
        # The prompt calls each of them once.
        assert adds == tiny.adds * (2 if trace == "1" else 1 + STEPS)
        for ours, theirs in zip(said, stock, strict=True):
            assert mx.array_equal(ours[:, -1].argmax(-1), theirs[:, -1].argmax(-1)).item()
            assert mx.allclose(ours, theirs, rtol=2**-5, atol=2**-4).item()
        _, again = adds_made(tiny, STEPS)
        assert again == tiny.adds * (1 if trace == "1" else 1 + STEPS)
    finally:
        patch.undo()


def test_a_counted_patch_is_not_traced(
    tiny: Tiny, make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACE, "1")
    sites = [f"{site}=mirror" for site in (CUT[tiny.name], "residual_norm")]
    patch = tiny.patch(variant(tiny.name, *sites), make_workspace("mirror").kernels)
    try:
        patch.install(count=True)
        tiny.logits(steps=STEPS)
        assert patch.calls["residual_norm"] == tiny.adds * (1 + STEPS)
    finally:
        patch.undo()


def test_without_an_attention_in_halves_nothing_is_traced(
    tiny: Tiny, make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACE, "1")
    patch = tiny.patch(variant(tiny.name, "residual_norm=mirror"), make_workspace("mirror").kernels)
    try:
        assert adds_made(tiny, STEPS)[1] == tiny.adds * (1 + STEPS)
    finally:
        patch.undo()
