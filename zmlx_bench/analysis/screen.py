"""What a cross-over inside single processes says: pure functions from the times of tokens to gains and advice.

In one process every arm has segments of its own. y is the mean over an arm's segments of ln(decode tok/s);
d = y_variant - (y_baseline + y_null) / 2 and z = y_null - y_baseline. The process is the unit: its segments are one
figure, and an interval is over processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from zmlx_bench.analysis.decision.statistics import difference_interval, estimate, floor_of, mean_interval
from zmlx_bench.analysis.intervals import DISPLAY_LEVEL, ratio_of_logs
from zmlx_bench.schema.figures import Ratio

BASELINE, NULL = "baseline", "null"
HALF_WIDTH = math.log(1.01)
"""The half-width of an interval, on the log scale, that the number of processes is told for."""
MOST_DRIFT = math.log(1.01)
"""Between the first and the last segment of a process, both stock."""
_PIECES = 10
"""Parts of a segment whose times are compared with those of the same part of another."""

Advice = Literal["session", "more", "no"]


@dataclass(frozen=True)
class Segment:
    """One answer of an arm."""

    arm: str
    t_ns: tuple[int, ...]
    """When each token was there, by the process's clock, nanoseconds."""


Crossover = Sequence[Segment]
"""The segments of one process in their order."""


def log_speed(segment: Segment) -> float | None:
    """Return ln((n - 1) / (t_last - t_first)), tokens a second; None below two tokens or without a duration."""
    spent_ns = segment.t_ns[-1] - segment.t_ns[0] if segment.t_ns else 0
    return math.log((len(segment.t_ns) - 1) * 1e9 / spent_ns) if spent_ns > 0 else None


def speed(process: Crossover, arm: str) -> float | None:
    """Return y of an arm: the mean over its segments; None where it has none."""
    found = [value for segment in process if segment.arm == arm and (value := log_speed(segment)) is not None]
    return math.fsum(found) / len(found) if found else None


def stock_speed(process: Crossover) -> float | None:
    """Return the mean of the y of the two stock arms; None where one has none."""
    baseline, null = speed(process, BASELINE), speed(process, NULL)
    return None if baseline is None or null is None else (baseline + null) / 2


def gain(process: Crossover, arm: str) -> float | None:
    """Return d of a variant, or z of the null arm; None where an arm that it takes has no segment."""
    reference = speed(process, BASELINE) if arm == NULL else stock_speed(process)
    own = speed(process, arm)
    return None if own is None or reference is None else own - reference


def drift(process: Crossover) -> Ratio | None:
    """Return the speed of the last segment over that of the first, both stock, with an interval within the process.

    A segment is cut into ten parts of as many tokens, and parts at the same place are paired: the n-th token has the
    same work to do in both. None where a segment is too short for two parts.
    """
    ends = [segment for segment in process if segment.arm == BASELINE]
    if len(ends) < 2:
        return None
    first, last = (_parts(segment) for segment in (ends[0], ends[-1]))
    logs = [math.log(a / b) for a, b in zip(first, last, strict=False) if a > 0 and b > 0]
    return ratio_of_logs(logs, range(1, len(logs) + 1)) if len(logs) > 1 else None


def drifted(of: Ratio | None) -> bool:
    """Whether the first and last stock segments differ by more than 1%: the whole 90% interval says so."""
    if of is None:
        return False
    _, low, high = mean_interval(of.logs, DISPLAY_LEVEL)
    return low > MOST_DRIFT or high < -MOST_DRIFT


def _parts(segment: Segment) -> list[float]:
    times = np.asarray(segment.t_ns, dtype=np.float64)
    steps = len(times) - 1
    if steps < 2:
        return []
    bounds = np.linspace(0, steps, min(_PIECES, steps) + 1).round().astype(int)
    return [float(part) for part in np.diff(times[bounds])]


def processes_needed(logs: Sequence[float]) -> int | None:
    """Return how many processes bring the half-width of the 90% t interval to 1%, by the scatter of `logs`.

    The smallest n with t(n - 1, 0.95) sd / sqrt(n) <= ln(1.01); None below two processes.
    """
    of = estimate(logs)
    if of.blocks < 2:
        return None
    share = (1 + DISPLAY_LEVEL) / 2
    ratio = float(of.sd) / HALF_WIDTH
    # The normal quantile is below every t quantile, so no smaller number can do.
    needed = max(2, math.ceil((float(scipy.special.ndtri(share)) * ratio) ** 2))
    while float(scipy.special.stdtrit(needed - 1, share)) * ratio > math.sqrt(needed):
        needed += 1
    return needed


def against(without: Sequence[float], under: Sequence[float]) -> Ratio | None:
    """Return the stock model's speed under a variant's variables over that without them; other processes, so Welch's
    interval. None below two processes of each."""
    if len(without) < 2 or len(under) < 2:
        return None
    mean, low, high = difference_interval(estimate(without), estimate(under), DISPLAY_LEVEL)
    return Ratio(value=math.exp(mean), low=math.exp(low), high=math.exp(high), logs=(), blocks=())


def advice(gains: Sequence[float], null: Sequence[float], min_gain: float) -> Advice:
    """Return what to do about a variant whose tokens were the same.

    `no` where its interval has no gain above the floor max(ln(1 + min_gain), |mean z|), `session` where it has one and
    nothing at or below zero, else `more` processes.
    """
    if len(gains) < 2:
        return "more"
    _, low, high = mean_interval(gains, DISPLAY_LEVEL)
    if high <= float(floor_of(estimate(null), min_gain)):
        return "no"
    return "session" if low > 0 else "more"


def pair_scatter(stock: Sequence[float]) -> float | None:
    """Return the standard deviation (log) that d has over the blocks of a session, from that of single processes.

    d is of three processes there, y_variant - (y_baseline + y_null) / 2: its variance is 3/2 of one's. None below two.
    """
    of = estimate(stock)
    return None if of.blocks < 2 else float(of.sd) * math.sqrt(1.5)


def gains_of(processes: Mapping[int, Crossover], arm: str) -> dict[int, float]:
    """Return d (or z) of an arm by the number of the process."""
    found = {number: gain(process, arm) for number, process in processes.items()}
    return {number: value for number, value in found.items() if value is not None}
