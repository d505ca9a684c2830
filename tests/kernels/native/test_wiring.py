"""The native kernels in the tiny models: every declared variant gives stock's logits bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import mlx.core as mx
import pytest
from mlx_lm.generate import generate_step

from tests.tiny import Tiny, equal
from tests.variants import variant
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.model

EXPERTS = "experts=native_experts"
DOWN = "down+combine=native_down_combine"
MOE = "experts+down+combine=native_moe"
LINEAR = "linear=native_linear"
ROUTER = "router=native_router"


PROMPT = tuple(range(40, 60))  # long enough for stock to sort the experts
STOCK: dict[tuple[str, int], Sequence[mx.array]] = {}


def stock_logits(tiny: Tiny, batch: int) -> Sequence[mx.array]:
    if (tiny.name, batch) not in STOCK:
        STOCK[tiny.name, batch] = tiny.logits(PROMPT, steps=2, batch=batch)
    return STOCK[tiny.name, batch]


@pytest.mark.parametrize(
    ("batch", "kernels"),
    [
        (1, (EXPERTS,)),
        (1, (DOWN,)),
        (1, (MOE,)),
        (1, (LINEAR,)),
        (1, (ROUTER,)),
        (1, (EXPERTS, DOWN)),
        (1, (MOE, LINEAR, ROUTER)),
        (3, (EXPERTS, DOWN, LINEAR, ROUTER)),
        (3, (MOE, LINEAR, ROUTER)),
    ],
)
def test_logits_are_stocks(
    tiny: Tiny, native: ModuleType, repository: Workspace, batch: int, kernels: Sequence[str]
) -> None:
    stock = stock_logits(tiny, batch)
    state = tiny.state()
    patch = tiny.patch(variant(tiny.name, *kernels), repository.kernels)
    patch.install(count=True)
    native_logits = tiny.logits(PROMPT, steps=2, batch=batch)
    calls = dict(patch.calls)
    patch.undo()
    assert equal(native_logits, stock)
    assert set(calls) == {site for text in kernels for site in text.split("=")[0].split("+")}
    assert tiny.state() == state


def test_peak_memory_is_not_above_stocks_by_a_twentieth(tiny: Tiny, native: ModuleType, repository: Workspace) -> None:
    def peak() -> int:
        mx.clear_cache()
        mx.reset_peak_memory()
        tiny.logits(tuple(range(60)), steps=3)
        return mx.get_peak_memory()

    stock = peak()
    patch = tiny.patch(variant(tiny.name, MOE, LINEAR, ROUTER), repository.kernels)
    patched = peak()
    patch.undo()
    assert patched <= 1.05 * stock


def test_what_mlx_cannot_multiply_by_is_refused(tiny: Tiny, native: ModuleType, repository: Workspace) -> None:
    host = next(h for h in tiny.hosts() if h.offers(("experts",)))
    down = host.module.switch_mlp.down_proj
    down.bits = 7
    try:
        with pytest.raises(
            Unavailable, match="down_proj is affine, 7 bit in groups of 64, by which MLX itself does not"
        ):
            tiny.patch(variant(tiny.name, MOE), repository.kernels)
    finally:
        down.bits = 4


@pytest.mark.slow
def test_a_thousand_tokens_are_stocks(tiny: Tiny, native: ModuleType, repository: Workspace) -> None:
    def tokens(start: int) -> list[int]:
        prompt = mx.array(list(range(start, start + 30)))
        return [int(token) for token, _ in generate_step(prompt, tiny.model, max_tokens=1024)]

    stock = [tokens(start) for start in (10, 400, 900)]
    patch = tiny.patch(variant(tiny.name, MOE, LINEAR, ROUTER), repository.kernels)
    patched = [tokens(start) for start in (10, 400, 900)]
    patch.undo()
    assert patched == stock
