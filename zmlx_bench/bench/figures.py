"""From repeated samples of a kernel's time to figures; pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from zmlx_bench.bench.schema import Spread


def spread(samples: Sequence[float]) -> Spread:
    """Return median and range of the samples."""
    return Spread(median=statistics.median(samples), low=min(samples), high=max(samples))


def ratios(stock: Sequence[float], ours: Sequence[float]) -> Spread:
    """Return stock over ours, pair by pair: samples of one index were taken one after the other."""
    return spread([a / b for a, b in zip(stock, ours, strict=True)])


def gb_s(moved: float, us: float) -> float:
    """Return GB/s (1e9 bytes) for `moved` bytes in `us` microseconds."""
    return moved / us / 1e3


def share_without_link(moved: float, us: float, link_us: float, copy_gb_s: float) -> float | None:
    """Return the share of the copy bandwidth once a link's time is taken off; None where nothing is left."""
    return gb_s(moved, us - link_us) / copy_gb_s if us > link_us else None


def calls_per_sample(call_us: float, wanted_s: float, least: int, most: int) -> int:
    """Return how many calls fill `wanted_s` seconds, within bounds."""
    return max(least, min(most, round(wanted_s * 1e6 / max(call_us, 1e-3))))


def copies(touched: float, held: int, cold_bytes: float, memory_bytes: float, most: int) -> tuple[int, int]:
    """Return (distinct inputs, copies of the weights) so that a rotation touches more than `cold_bytes`.

    `touched` is what a call reads, `held` what a copy of the module takes; the copies stay within
    `memory_bytes`, and a call that reads no weights needs one.
    """
    inputs = max(8, min(most, -(-int(cold_bytes) // max(1, int(touched)))))
    weights = 1 if held == 0 else max(1, min(inputs, int(memory_bytes // held)))
    return inputs, weights
