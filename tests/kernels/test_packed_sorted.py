"""Calls of so many gathered rows that mlx-lm sorts them stay with MLX, in the order of mlx-lm's own module."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchGLU

from tests.kernels import experts, gpu
from zmlx_bench.measured.families.moe import stock_combine

swiglu, down = gpu.module("packed_experts.kernel"), gpu.module("packed_down_combine.kernel")
SORTED_FROM = gpu.module("_lib.gpu.gathered").SORTED_FROM
EXPERTS, TOP, HIDDEN, INNER = 20, 16, 128, 128
LAUNCHED = "launched"


class Seen(QuantizedSwitchLinear):  # type: ignore[misc]
    """Experts of 8 bits that keep how many rows came to them, and whether they were said to be sorted."""

    def __init__(self, rows: int, columns: int, calls: list[tuple[int, bool]]) -> None:
        super().__init__(columns, rows, EXPERTS, bias=False, group_size=64, bits=8)
        self.set_dtype(mx.bfloat16, lambda dtype: dtype == mx.float32)
        self._calls = calls

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> Any:
        self._calls.append((indices.size, sorted_indices))
        return super().__call__(x, indices, sorted_indices=sorted_indices)


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


@pytest.fixture
def calls() -> list[tuple[int, bool]]:
    return []


@pytest.fixture
def switch(calls: list[tuple[int, bool]]) -> Any:
    made = SwitchGLU(64, 8, 1)
    made.gate_proj, made.up_proj = Seen(INNER, HIDDEN, calls), Seen(INNER, HIDDEN, calls)
    made.down_proj = Seen(HIDDEN, INNER, calls)
    return made


def no_launch(*_: Any) -> Any:
    """In the place of what launches; a GPU's own is test_on_gpu_packed.py's."""

    def run(*_: Any) -> list[mx.array]:
        raise AssertionError(LAUNCHED)

    return run


def drawn(tokens: tuple[int, int]) -> tuple[mx.array, mx.array, mx.array]:
    """x, inds and scores."""
    x = experts.activations("normal", *tokens, HIDDEN)
    return x, experts.routes(tokens, EXPERTS, TOP), experts.weights(tokens, TOP, mx.float32)


@pytest.mark.parametrize("backend", ["cuda", "metal"])
def test_from_as_many_rows_as_mlx_lm_sorts_the_call_is_its_own(
    switch: Any, calls: list[tuple[int, bool]], backend: str
) -> None:
    x, inds, scores = drawn((2, 2))
    stock = stock_combine(switch(x, inds), scores)
    mx.eval(stock)
    asked = list(calls)
    assert asked == [(SORTED_FROM, True)] * 3, "mlx-lm sorts from there on"
    first, second = swiglu.experts(switch, backend, no_launch), down.down_combine(switch, backend, no_launch)
    calls.clear()
    assert gpu.same(second(h=first(x=x, inds=inds), inds=inds, scores=scores), stock)
    assert calls == asked


@pytest.mark.parametrize("backend", ["cuda", "metal"])
def test_fewer_rows_are_launched_and_mlx_lm_does_not_sort_them(
    switch: Any, calls: list[tuple[int, bool]], backend: str
) -> None:
    x, inds, scores = drawn((3, 1))
    mx.eval(switch(x, inds))
    assert calls == [(48, False)] * 3
    with pytest.raises(AssertionError, match=LAUNCHED):
        swiglu.experts(switch, backend, no_launch)(x=x, inds=inds)
    h = experts.activations("normal", 3, 1, TOP, INNER)
    with pytest.raises(AssertionError, match=LAUNCHED):
        down.down_combine(switch, backend, no_launch)(h=h, inds=inds, scores=scores)
