"""What a kernel returns is compared bit for bit where it can be, and named where it cannot."""

from __future__ import annotations

import re

import mlx.core as mx
import pytest

from zmlx_bench.bench.truth import differing

STOCK = mx.zeros((1, 1, 8))


@pytest.mark.parametrize(
    ("ours", "found"),
    [
        (STOCK, (0, 8)),
        (STOCK.at[0, 0, 3].add(1), (1, 8)),
        (STOCK.astype(mx.bfloat16), (8, 8)),
    ],
)
def test_bits_are_counted(ours: mx.array, found: tuple[int, int]) -> None:
    assert differing([ours], [STOCK]) == found


def test_another_shape_is_named_though_it_has_as_many_elements() -> None:
    said = "array 2 of 2 that it returns has shape (1, 1, 1, 8), the unpatched model's (1, 1, 8)"
    with pytest.raises(ValueError, match=re.escape(said)):
        differing([STOCK, STOCK[None]], [STOCK, STOCK])


def test_another_number_of_arrays_is_named() -> None:
    with pytest.raises(ValueError, match="returns 2 arrays where the unpatched model has 1"):
        differing([STOCK, STOCK], [STOCK])
