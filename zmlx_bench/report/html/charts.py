"""Charts as plotly.js figures: plain values of data and layout. The page adds what its light or dark theme decides."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from zmlx_bench.analysis.throughput import by_block, decode_tok_s
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.schema.run import Run

Figure = dict[str, Any]
STOCK = {"baseline": "#8a8f98", "null": "#b7a58a"}
# Okabe and Ito's colours, a little lighter so that they show on a dark page too: told apart by the colour-blind.
COLOURS = ("#2f8fd8", "#e0702a", "#14a37f", "#d277ad", "#d9a514", "#5bb8e6")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
MOST_POINTS = 256
"""Points of a latency curve; more positions than these are put together in twos, fours and so on."""


@dataclass(frozen=True)
class ForestRow:
    """One interval of a forest plot."""

    label: str
    tokens: int
    ratio: Ratio
    floor: float | None
    """What the ratio must exceed; null for the null arm, and where no policy is known."""
    is_null: bool = False


def forest(rows: Sequence[ForestRow]) -> Figure:
    """Return ratios with their intervals, a line at 1 and a mark at each floor; the first row stands on top."""
    labels = [f"{row.label} · {row.tokens}" for row in rows]
    budgets = sorted({row.tokens for row in rows})
    data = []
    for tokens in budgets:
        for null in (False, True):
            chosen = [i for i, row in enumerate(rows) if row.tokens == tokens and row.is_null == null]
            if chosen:
                data.append(_intervals([rows[i] for i in chosen], [labels[i] for i in chosen], budgets.index(tokens)))
    floors = [(row.floor, label) for row, label in zip(rows, labels, strict=True) if row.floor is not None]
    if floors:
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": "floor", "x": [x for x, _ in floors],
                "y": [y for _, y in floors], "hovertemplate": "floor %{x:.4f}x<extra></extra>",
                "marker": {"symbol": "line-ns-open", "size": 18, "color": "#d0453e", "line": {"width": 2}},
            }
        )  # fmt: skip
    ends = [x for row in rows for x in (row.ratio.value, row.ratio.low, row.ratio.high, row.floor) if x]
    low, high = min([*ends, 1.0]), max([*ends, 1.0])
    pad = max((math.log(high) - math.log(low)) * 0.06, 0.002)
    ticks = [tick for tick in _ticks(low, high) if tick not in (1.5, 7.0)] if high > 2.5 * low else _ticks(low, high)
    return {
        "data": data,
        "layout": {
            "height": 140 + 28 * len(rows),
            "xaxis": {
                "type": "log", "range": [(math.log(low) - pad) / math.log(10), (math.log(high) + pad) / math.log(10)],
                "tickvals": ticks, "ticktext": [f"{tick:g}x" for tick in ticks], "tickangle": 0,
                "title": {"text": "ratio to the baseline (log scale)"},
            },
            "yaxis": {"type": "category", "categoryarray": labels[::-1], "categoryorder": "array", "automargin": True},
            "shapes": [_line(1.0)],
        },
    }  # fmt: skip


def _intervals(rows: Sequence[ForestRow], labels: Sequence[str], place: int) -> dict[str, Any]:
    null = rows[0].is_null
    values = [row.ratio for row in rows]
    spans = [(r.low if r.low is not None else r.value, r.high if r.high is not None else r.value) for r in values]
    colour = STOCK["null"] if null else COLOURS[place % len(COLOURS)]
    return {
        "type": "scatter", "mode": "markers", "y": list(labels), "x": [r.value for r in values],
        "name": f"null arm, {rows[0].tokens}" if null else f"{rows[0].tokens} tokens",
        "marker": {"size": 9, "color": colour, "symbol": "diamond" if null else SYMBOLS[place % len(SYMBOLS)]},
        "error_x": {
            "type": "data", "symmetric": False, "color": colour, "thickness": 2, "width": 5,
            "array": [high - r.value for r, (_, high) in zip(values, spans, strict=True)],
            "arrayminus": [r.value - low for r, (low, _) in zip(values, spans, strict=True)],
        },
        "customdata": [list(span) for span in spans],
        "hovertemplate": "%{y}: %{x:.4f}x [%{customdata[0]:.4f}, %{customdata[1]:.4f}]<extra></extra>",
    }  # fmt: skip


def _ticks(low: float, high: float) -> list[float]:
    """Return five or so round ratios between `low` and `high`, 1 among them."""
    if high / low > 2.5:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [n * 10.0**d for d in decades for n in (1, 1.5, 2, 3, 5, 7) if low * 0.9 <= n * 10.0**d <= high * 1.1]
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 0.001
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= raw)
    first, last = math.floor((low - 1) / step), math.ceil((high - 1) / step)
    return [round(1 + i * step, 6) for i in range(first, last + 1)]


def _line(x: float, dash: str = "solid") -> dict[str, Any]:
    return {
        "type": "line", "xref": "x", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
        "line": {"width": 1, "dash": dash, "color": "#8a8f98"},
    }  # fmt: skip


def blocks(order: Sequence[Sequence[str]], arms: Mapping[str, Sequence[Run]]) -> Figure:
    """Return decode tok/s of every process in the order they ran, an arm a line; dotted lines part the blocks.

    `arms` are the runs of each arm of one session and budget, `order` the arms of each block as they ran.
    """
    speeds = {name: by_block(runs, decode_tok_s) for name, runs in arms.items()}
    places = [(block, arm) for block, ran in enumerate(order, start=1) for arm in ran]
    data = []
    others = [name for name in arms if name not in STOCK]
    for name, found in speeds.items():
        mine = [(x, block) for x, (block, arm) in enumerate(places, start=1) if arm == name and block in found]
        index = others.index(name) if name in others else 0
        colour = STOCK.get(name) or COLOURS[index % len(COLOURS)]
        symbol = "circle-open" if name in STOCK else SYMBOLS[index % len(SYMBOLS)]
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": name, "x": [x for x, _ in mine],
                "y": [round(found[block], 3) for _, block in mine], "customdata": [block for _, block in mine],
                "line": {"color": colour, "width": 1.5, "dash": "dot" if name == "null" else "solid"},
                "marker": {"color": colour, "size": 8, "symbol": symbol},
                "hovertemplate": name + ", block %{customdata}: %{y:.2f} tok/s<extra></extra>",
            }
        )  # fmt: skip
    starts = [0]
    for ran in order:
        starts.append(starts[-1] + len(ran))
    return {
        "data": data,
        "layout": {
            "height": 300,
            "xaxis": {
                "title": {"text": "block (processes in the order they ran)"},
                "range": [0.4, starts[-1] + 0.6],
                "tickvals": [(a + b + 1) / 2 for a, b in pairwise(starts)],
                "ticktext": [str(block) for block in range(1, len(order) + 1)], "showgrid": False,
            },
            "yaxis": _speed_axis([y for found in speeds.values() for y in found.values()]),
            "shapes": [_line(start + 0.5, "dot") for start in starts[1:-1]],
        },
    }  # fmt: skip


def _speed_axis(values: Sequence[float]) -> dict[str, Any]:
    """Return a log axis where one arm is so much faster that the drift of the others would not show."""
    title = {"title": {"text": "decode tok/s"}}
    if not values or max(values) < 2 * min(values):
        return title
    low, high = min(values) * 0.9, max(values) * 1.1
    ticks = _ticks(low, high)
    title["title"]["text"] += " (log scale)"
    return {
        **title, "type": "log", "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks],
    }  # fmt: skip


def latency(arms: Mapping[str, Sequence[Run]]) -> tuple[Figure, int] | None:
    """Return the time of each token by its position, the median over blocks, and how many positions make a point.

    None where no process has token times.
    """
    curves = {name: _median_latency(runs) for name, runs in arms.items()}
    longest = max((len(curve) for curve in curves.values()), default=0)
    if not longest:
        return None
    together = math.ceil(longest / MOST_POINTS)
    data = []
    for place, (name, curve) in enumerate(curves.items()):
        if not curve:
            continue
        points = [statistics.fmean(curve[i : i + together]) for i in range(0, len(curve), together)]
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": name, "y": [round(y, 3) for y in points],
                "x0": 2, "dx": together, "line": {"width": 1.3, "color": STOCK.get(name) or COLOURS[(place - 1) % 6]},
                "hovertemplate": name + ", token %{x}: %{y:.3f} ms<extra></extra>",
            }
        )  # fmt: skip
    layout = {
        "height": 260,
        "xaxis": {"title": {"text": "token position"}},
        "yaxis": {"title": {"text": "ms a token"}, "rangemode": "tozero"},
    }
    return {"data": data, "layout": layout}, together


def _median_latency(runs: Sequence[Run]) -> list[float]:
    """Return the median over blocks of each token's time, milliseconds."""
    times = [run.generations[0].token_us for run in runs if run.status == "ok" and run.generations[0].token_us]
    shortest = min((len(us) for us in times), default=0)
    return [statistics.median(us[i] for us in times) / 1e3 for i in range(shortest)]
