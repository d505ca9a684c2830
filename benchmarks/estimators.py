"""Which estimate of a session's gain survives outliers: writes docs/decision-outliers.md.

    python benchmarks/estimators.py [--quick]

Sessions of one variant at two budgets, process sd 1%; an outlier makes a process 10 to 25% slow. Every estimator gets
its own null distribution from normal samples of the same size, so that all keep the level and only power differs; those
with an exact distribution (signed ranks, sign flips) use it. Seeded; five minutes on one core. Begun again with the
same code, a run that was ended goes on after the last rows that it had printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from kept_rows import KeptRows, Row
from outlier_model import BUDGETS_APART, BUDGETS_TOGETHER, FOUND, OUTLIERS, STALLS, Shape, sessions

from zmlx_bench.analysis.decision import robust
from zmlx_bench.analysis.decision.outliers import SetAside, set_aside
from zmlx_bench.analysis.decision.statistics import estimate, interval
from zmlx_bench.files import read_toml
from zmlx_bench.schema.policy import Policy

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], tuple[Array, Array]]
"""Returns (location, standard error) of samples (..., blocks)."""

ROOT = Path(__file__).resolve().parents[1]
POLICY = read_toml(ROOT / "variants" / "policy.toml", Policy)
INTRODUCTION = Path(__file__).with_name("estimators.md.in")
SEED = 20261130
LEVEL, LEVEL_OF_FIVE, BIAS = 0.02, 0.004, 0.005
BLOCKS = (6, 8, 12, 20)
SESSIONS, NULLS = 10_000, 200_000
MIN_GAIN = float(np.log1p(0.01))


def mean(x: Array) -> tuple[Array, Array]:
    """The mean with Student's standard error."""
    return x.mean(axis=-1), x.std(axis=-1, ddof=1) / np.sqrt(x.shape[-1])


def trimmed(each_side: int) -> Statistic:
    """Return the trimmed mean with the standard error of Tukey and McLaughlin, which Yuen's interval uses."""

    def of(x: Array) -> tuple[Array, Array]:
        ordered = np.sort(x, axis=-1)
        kept = ordered[..., each_side : x.shape[-1] - each_side]
        winsorised = np.clip(ordered, kept[..., :1], kept[..., -1:])
        count = kept.shape[-1]
        squares = np.square(winsorised - winsorised.mean(axis=-1, keepdims=True)).sum(axis=-1)
        return kept.mean(axis=-1), np.sqrt(squares / (count * (count - 1)))

    return of


def huber(x: Array) -> tuple[Array, Array]:
    """Huber's M-estimate, k = 1.345, with Shamos's scale."""
    n = x.shape[-1]
    reach = 1.345 * robust.shamos(x)[..., None]
    at = np.median(x, axis=-1, keepdims=True)
    for _ in range(20):
        weight = np.minimum(1.0, reach / np.maximum(np.abs(x - at), 1e-300))
        at = (weight * x).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    pulled = np.clip(x - at, -reach, reach)
    inside = np.maximum((np.abs(x - at) < reach).sum(axis=-1), 1)
    return at[..., 0], np.sqrt(np.square(pulled).sum(axis=-1) * n / (n - 1)) / inside


def bisquare(x: Array) -> tuple[Array, Array]:
    """What zmlx uses."""
    found = robust.bisquare(x, calibrated=False)
    return found.value, found.se


def hodges_lehmann(x: Array) -> Array:
    """Return the median of the Walsh averages."""
    one, other = np.triu_indices(x.shape[-1])
    return np.asarray(np.median((x[..., one] + x[..., other]) / 2, axis=-1))


def signed_rank_p(x: Array) -> Array:
    """Return Wilcoxon's exact one-sided p of "the median is at most 0"."""
    n = x.shape[-1]
    ranks = np.abs(x).argsort(axis=-1).argsort(axis=-1) + 1
    total = np.where(x > 0, ranks, 0).sum(axis=-1)
    counts = np.array([1.0])
    for rank in range(1, n + 1):
        counts = np.convolve(counts, np.r_[1.0, np.zeros(rank - 1), 1.0])
    tail = counts[::-1].cumsum()[::-1] / 2.0**n
    return np.asarray(tail[total])


def sign_flip_p(x: Array) -> Array:
    """Return the permutation p of the sum under all flips of sign; the largest samples use 4,096 drawn ones."""
    n = x.shape[-1]
    if n <= 12:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng(SEED).choice([-1, 1], (4095, n))
        signs = np.concatenate([np.ones((1, n), dtype=np.int64), drawn])
    total = x.sum(axis=-1, keepdims=True)
    return np.asarray(np.concatenate([(p @ signs.T >= s - 1e-12).mean(axis=-1) for p, s in _pieces(x, total)]))


def _pieces(x: Array, total: Array) -> Sequence[tuple[Array, Array]]:
    return [(x[i : i + 500], total[i : i + 500]) for i in range(0, len(x), 500)]


@dataclass(frozen=True)
class Judged:
    """p-values of one budget: of d against the floor, and whether the null arm is off."""

    p: Array
    biased: npt.NDArray[np.bool_]


class ByStatistic:
    """An estimator that is judged by location / standard error against its own null distribution."""

    def __init__(self, statistic: Statistic, blocks: int, nulls: int) -> None:
        self._statistic = statistic
        location, se = statistic(np.random.default_rng([SEED, blocks]).standard_normal((nulls, blocks)))
        ratio = np.concatenate([location / se, -location / se])
        self._null = np.sort(ratio)

    def judge(self, d: Array, z: Array, gain: float) -> Judged:
        location, se = self._statistic(d)
        null, null_se = self._statistic(z)
        floor = np.maximum(MIN_GAIN, np.abs(null))
        off = self._tail(np.abs(null) / null_se) < BIAS
        return Judged(self._tail((location + gain - floor) / se), off)

    def _tail(self, ratio: Array) -> Array:
        return 1 - np.searchsorted(self._null, ratio) / len(self._null)


class ByRanks:
    """Signed ranks about the floor of Hodges and Lehmann's estimate of z, or sign flips about that of the mean."""

    def __init__(self, p: Callable[[Array], Array], location: Callable[[Array], Array]) -> None:
        self._p = p
        self._location = location

    def judge(self, d: Array, z: Array, gain: float) -> Judged:
        floor = np.maximum(MIN_GAIN, np.abs(self._location(z)))
        off = np.minimum(self._p(z), self._p(-z)) < BIAS
        return Judged(self._p(d + gain - floor[..., None]), off)


def estimators(blocks: int, nulls: int) -> dict[str, ByStatistic | ByRanks]:
    """Return what is compared at a number of blocks."""
    found: dict[str, ByStatistic | ByRanks] = {"mean, t": ByStatistic(mean, blocks, nulls)}
    for each_side in (1, 2, 3):
        if blocks - 2 * each_side >= 4:
            found[f"trimmed {each_side} a side, Yuen"] = ByStatistic(trimmed(each_side), blocks, nulls)
    found["Hodges-Lehmann, signed ranks"] = ByRanks(signed_rank_p, hodges_lehmann)
    found["mean, sign flips"] = ByRanks(sign_flip_p, lambda x: np.asarray(x.mean(axis=-1)))
    found["Huber"] = ByStatistic(huber, blocks, nulls)
    found["bisquare"] = ByStatistic(bisquare, blocks, nulls)
    return found


Gate = Callable[[Array, SetAside], npt.NDArray[np.bool_]]
"""Tells of samples of d, and of what the bisquare sets aside of them, whose variant is held back."""


def above_zero(_: Array, found: SetAside) -> npt.NDArray[np.bool_]:
    """The plain mean is not above 0, and more was set aside where the variant was slow."""
    return np.asarray((found.below > found.above) & (found.plain <= 0))


def above_gain(_: Array, found: SetAside) -> npt.NDArray[np.bool_]:
    """The same with the smallest gain that matters."""
    return np.asarray((found.below > found.above) & (found.plain <= MIN_GAIN))


def bounded(level: float) -> Gate:
    """The same with the lower bound of the plain mean, by its t interval, at a level."""

    def of(sample: Array, found: SetAside) -> npt.NDArray[np.bool_]:
        plain = estimate(sample)
        return np.asarray((found.below > found.above) & (interval(plain, 1 - 2 * level)[0] <= 0))

    return of


def keeping(share: float) -> Gate:
    """What zmlx asks, with another share of the estimate."""
    policy = POLICY.model_copy(update={"outlier_share": share})
    return lambda sample, _: set_aside(sample, "bisquare", policy).eats_the_gain


def never(_: Array, found: SetAside) -> npt.NDArray[np.bool_]:
    """No gate."""
    return np.zeros(found.plain.shape, dtype=np.bool_)


GATES: dict[str, Gate] = {
    "none": never,
    "mean above 0": above_zero,
    "mean above 1%": above_gain,
    "lower bound of the mean at 30% above 0": bounded(0.3),
    "lower bound of the mean at 20% above 0": bounded(0.2),
    "mean above a third of the estimate": keeping(1 / 3),
    "mean above half of the estimate": keeping(0.5),
    "mean above 0.7 of the estimate": keeping(0.7),
    "not more set aside where the variant was slow": lambda _, found: np.asarray(found.below > found.above),
}


def faster(
    estimator: ByStatistic | ByRanks,
    drawn: tuple[Array, Array],
    gain: float,
    level: float,
    gate: Gate | None = None,
) -> npt.NDArray[np.bool_]:
    """Return which sessions call their variant faster at both budgets, are not biased and not held back by `gate`."""
    hits = np.ones(len(drawn[0]), dtype=np.bool_)
    for y in drawn:
        d, z = y[:, 2] - (y[:, 0] + y[:, 1]) / 2, y[:, 1] - y[:, 0]
        judged = estimator.judge(d, z, gain)
        hits &= (judged.p <= level) & ~judged.biased
        if gate is not None:
            hits &= ~gate(d + gain, set_aside(d + gain, "bisquare", POLICY))
    return hits


COLUMNS = (
    ("+3%, calm", Shape(0.0, 0.0, BUDGETS_APART), FOUND, LEVEL),
    ("+3%, calm, 5 var.", Shape(0.0, 0.0, BUDGETS_APART), FOUND, LEVEL_OF_FIVE),
    ("+3%", Shape(OUTLIERS, OUTLIERS, BUDGETS_APART), FOUND, LEVEL),
    ("+3%, one process", Shape(OUTLIERS, OUTLIERS, BUDGETS_TOGETHER), FOUND, LEVEL),
    ("+3%, 5 var.", Shape(OUTLIERS, OUTLIERS, BUDGETS_APART), FOUND, LEVEL_OF_FIVE),
    ("+3%, 5 var., one process", Shape(OUTLIERS, OUTLIERS, BUDGETS_TOGETHER), FOUND, LEVEL_OF_FIVE),
    ("equal", Shape(OUTLIERS, OUTLIERS, BUDGETS_TOGETHER), 0.0, LEVEL),
)


def compared(kept: KeptRows, share: int) -> Iterator[Row]:
    """Yield the table of estimators."""
    yield head("blocks, estimator", [name for name, *_ in COLUMNS])
    for blocks in BLOCKS:
        yield kept.row(f"estimators, {blocks}", lambda b=blocks: _compared(b, share))


def _compared(blocks: int, share: int) -> Row:
    lines = []
    for name, estimator in estimators(blocks, NULLS // share).items():
        cells = []
        for _, shape, gain, level in COLUMNS:
            drawn = sessions(np.random.default_rng([SEED, blocks, 7]), SESSIONS // share, 1, blocks, shape)
            cells.append(f"{100 * faster(estimator, drawn, gain, level).mean():.1f}")
        lines.append(line(f"{blocks}, {name}", cells))
    return Row(tuple(lines))


def stalling(kept: KeptRows, share: int) -> Iterator[Row]:
    """Yield the table of variants whose mean gain, their own stalls included, is 0."""
    names = (
        "gain between stalls",
        "no stall in the session",
        "mean, t",
        "bisquare",
        "with the gate",
        "+3%, with the gate",
    )
    yield head("blocks, who stalls", names)
    for blocks in BLOCKS:
        yield kept.row(f"stalls, {blocks}", lambda b=blocks: _stalling(b, share))


def _stalling(blocks: int, share: int) -> Row:
    plain, robustly = ByStatistic(mean, blocks, NULLS // share), ByStatistic(bisquare, blocks, NULLS // share)
    lines = []
    for often, rate in STALLS.items():
        for who, shape, gain in (
            ("the variant", Shape(0.0, rate, BUDGETS_TOGETHER), -Shape.mean_loss(rate)),
            ("both stock arms", Shape(rate, 0.0, BUDGETS_TOGETHER), Shape.mean_loss(rate)),
        ):
            drawn = sessions(np.random.default_rng([SEED, blocks, often]), SESSIONS // share, 1, blocks, shape)
            missed = (1 - rate) ** (blocks if who == "the variant" else 2 * blocks)
            rates = [
                faster(plain, drawn, gain, LEVEL),
                faster(robustly, drawn, gain, LEVEL),
                faster(robustly, drawn, gain, LEVEL, keeping(POLICY.outlier_share)),
                faster(robustly, drawn, FOUND, LEVEL, keeping(POLICY.outlier_share)),
            ]
            cells = [f"{np.expm1(gain):+.1%}", f"{100 * missed:.1f}", *(f"{100 * r.mean():.1f}" for r in rates)]
            lines.append(line(f"{blocks}, {who}, 1 in {often}", cells))
    return Row(tuple(lines))


def gates(kept: KeptRows, share: int) -> Iterator[Row]:
    """Yield the table of gates: what each finds of +3%, and how often each lets a variant pass that gains nothing."""
    yield head("blocks, gate", [name for name, *_ in _passing()])
    for blocks in BLOCKS[1:]:
        yield kept.row(f"gates, {blocks}", lambda b=blocks: _gates(b, share))


def _passing() -> list[tuple[str, Shape, float, float]]:
    everywhere = Shape(OUTLIERS, OUTLIERS, BUDGETS_TOGETHER)
    cells: list[tuple[str, Shape, float, float]] = [
        ("+3%", everywhere, FOUND, LEVEL),
        ("+3%, 5 var.", everywhere, FOUND, LEVEL_OF_FIVE),
        ("+3%, budgets apart", Shape(OUTLIERS, OUTLIERS, BUDGETS_APART), FOUND, LEVEL),
    ]
    for name, stock in (("stalls", 0.0), ("stalls, outliers too", OUTLIERS)):
        for often, rate in STALLS.items():
            shape = Shape(stock, rate + stock, BUDGETS_TOGETHER)
            cells.append((f"{name}, 1 in {often}", shape, -Shape.mean_loss(rate), LEVEL))
    return cells


def _gates(blocks: int, share: int) -> Row:
    cells = _passing()
    robustly = ByStatistic(bisquare, blocks, NULLS // share)
    drawn = [sessions(np.random.default_rng([SEED, blocks, 11]), SESSIONS // share, 1, blocks, c[1]) for c in cells]
    lines = []
    for name, gate in GATES.items():
        rates = [faster(robustly, drawn[i], gain, level, gate).mean() for i, (_, _, gain, level) in enumerate(cells)]
        lines.append(line(f"{blocks}, {name}", [f"{100 * rate:.1f}" for rate in rates]))
    return Row(tuple(lines))


def head(first: str, names: Sequence[str]) -> Row:
    """Return the head of a table."""
    return Row((line(first, names), "| --- | " + " | ".join("---:" for _ in names) + " |"))


def line(name: str, cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sessions")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "decision-outliers.md")
    options = parser.parse_args()
    share = 10 if options.quick else 1
    here = Path(__file__)
    kept = KeptRows("estimators", (here, here.with_name("outlier_model.py")), share)
    out = [INTRODUCTION.read_text().strip()]
    for title, rows in (
        ("## Estimators", compared(kept, share)),
        ("## A variant that stalls", stalling(kept, share)),
        ("## Gates", gates(kept, share)),
    ):
        out += ["", title, ""]
        for row in rows:
            out += row.lines
    options.out.write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
