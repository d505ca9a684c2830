"""The figures of a capsule that stand side by side: an arm's, the stock model's, and their ratio paired by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from zmlx_bench.analysis import ratios
from zmlx_bench.report import words
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.figures import Figures, Ratio, Ratios, TokenTimes

SELDOM = ("context_prefill_tok_s", "energy_j_per_token")
"""Keys of what is shown only where it was measured: where there was a context, and where a counter tells."""


@dataclass(frozen=True)
class Measure:
    """One figure. A ratio of times or of energy is better below 1, one of speeds above."""

    key: str
    """With the unit; the column of a CSV file."""
    name: str
    unit: str
    digits: int
    value: float | None
    baseline: float | None
    ratio: Ratio | None

    @property
    def title(self) -> str:
        """Return the name with its unit."""
        return f"{self.name}, {self.unit}"

    @property
    def shown(self) -> str:
        """Return the arm's figure."""
        return words.number(self.value, self.digits)

    @property
    def shown_baseline(self) -> str:
        """Return the baseline's figure."""
        return words.number(self.baseline, self.digits)


def of_capsule(capsule: Capsule) -> tuple[Measure, ...]:
    """Return the variant's figures, derived from its runs where the capsule does not say them."""
    return of_figures(ratios.completed(capsule))


def of_figures(figures: Figures) -> tuple[Measure, ...]:
    """Return decode and prefill speed, that of a context where there was one, time to first token, percentiles of the
    time per token, and energy where a counter told."""
    found = figures.ratios
    ttft, energy = (found.ttft, found.energy) if found else (None, None)
    every = (
        Measure(
            "decode_tok_s", "decode", "tok/s", 1, figures.decode_tok_s, figures.baseline_decode_tok_s, figures.speedup
        ),
        Measure(
            "prefill_tok_s", "prefill", "tok/s", 1, figures.prefill_tok_s, figures.baseline_prefill_tok_s,
            figures.prefill,
        ),
        Measure(
            "context_prefill_tok_s", "context prefill", "tok/s", 1, figures.context_prefill_tok_s,
            figures.baseline_context_prefill_tok_s, figures.context_prefill,
        ),
        Measure("ttft_ms", "first token", "ms", 1, figures.ttft_ms, figures.baseline_ttft_ms, ttft),
        *_latencies(figures.token_times, figures.baseline_token_times, found),
        Measure(
            "energy_j_per_token", "energy", "J a token", 3, figures.energy_j_per_token,
            figures.baseline_energy_j_per_token, energy,
        ),
    )  # fmt: skip
    return tuple(m for m in every if m.key not in SELDOM or (m.value, m.baseline) != (None, None))


def beside(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """Return what is measured beside decode speed."""
    return tuple(measure for measure in measures if measure.key != "decode_tok_s")


def _latencies(ours: TokenTimes | None, stock: TokenTimes | None, found: Ratios | None) -> Iterator[Measure]:
    for share in ("p50", "p95", "p99"):
        mine, theirs = (None if one is None else getattr(one, f"{share}_ms") for one in (ours, stock))
        ratio = None if found is None else getattr(found, f"token_{share}")
        yield Measure(f"token_{share}_ms", f"token {share}", "ms", 2, mine, theirs, ratio)


def titles(found: Iterable[Sequence[Measure]]) -> list[str]:
    """Return the titles of all measures, in their order."""
    return list(dict.fromkeys(measure.title for measures in found for measure in measures))


def in_short(measures: Sequence[Measure], shown: Sequence[str]) -> tuple[str, ...]:
    """Return the measures of these titles, each as `prefill 812.0 tok/s 1.003x [0.990, 1.010]`; empty where unknown."""
    known = {measure.title: measure for measure in measures if measure.value is not None}
    return tuple(_in_short(known[title]) if title in known else "" for title in shown)


def _in_short(measure: Measure) -> str:
    return f"{measure.name} {measure.shown} {measure.unit} {words.ratio(measure.ratio)}"
