"""How often a session that stops when decided is wrong, and how many blocks it takes: writes docs/decision-looks.md.

    python benchmarks/looks_error.py [--quick]

Simulated sessions are looked at as `zmlx run --until-decided --at-most 40` looks at them, with the functions that
decide (`zmlx_bench/analysis/decision/`). Seeded; a quarter of an hour on one core, `--quick` some minutes. Begun again
with the same code, a run that was ended goes on after the last row that it had printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from kept_rows import KeptRows, Row
from outlier_model import BUDGETS_APART, BUDGETS_TOGETHER, OUTLIERS, STALLS, Shape, sessions

from zmlx_bench.analysis.decision.group import EARLY, allowance
from zmlx_bench.analysis.decision.outliers import set_aside
from zmlx_bench.analysis.decision.speed import Evidence, Speed, evidence, judge, kept, over_looks
from zmlx_bench.analysis.decision.stalls import missed
from zmlx_bench.analysis.decision.statistics import biased, estimate, floor_of
from zmlx_bench.files import read_toml
from zmlx_bench.protocol.looks import looks_of
from zmlx_bench.protocol.plan import ESTIMATOR
from zmlx_bench.schema.policy import Policy

ROOT = Path(__file__).resolve().parents[1]
POLICY = read_toml(ROOT / "variants" / "policy.toml", Policy)
INTRODUCTION = Path(__file__).with_name("looks_error.md.in")
SEED = 20261201
MOST = 40
LOOKS = looks_of(max(POLICY.min_blocks.values()), MOST)
SESSIONS = {1: 4_000, 5: 2_000}
PAIRED = {1: 8_000, 5: 3_000}
PIECE = 1_000
SEVERAL = (2, 3, 4)
"""Sessions that agree."""
PLANS = {"looks": LOOKS, "8 blocks": (8,), "12 blocks": (12,), "20 blocks": (20,)}
Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Stopped:
    """Where simulated sessions stopped, and what was said then."""

    blocks: npt.NDArray[np.int_]
    """(sessions,)."""
    speed: npt.NDArray[np.int_]
    """Values of `Speed`, (sessions, variants)."""
    candidate: Flags
    """(sessions, variants)."""
    valid: Flags
    """Not biased, (sessions,)."""
    mean: Array
    """Estimates of d at the stop, (sessions, variants, budgets)."""
    se: Array
    d: npt.NDArray[np.float32]
    """Of every block that might have been run, (sessions, variants, budgets, blocks)."""


def run(
    rng: np.random.Generator, count: int, variants: int, shape: Shape, gains: Array, looks: Sequence[int]
) -> Stopped:
    """Simulate `count` sessions whose variants truly gain `gains` (log, (variants, budgets))."""
    return run_drawn(lambda: sessions(rng, PIECE, variants, looks[-1], shape), count, gains, looks)


def run_drawn(
    draw: Callable[[], tuple[Array, Array]], count: int, gains: Array, looks: Sequence[int], *, keeps: bool = True
) -> Stopped:
    """Decide `count` sessions whose log speeds (PIECE, arms, blocks) at both budgets are drawn by `draw`; `keeps` as
    sessions since plans of algorithm 3."""
    parts = [_run(draw(), gains, looks, keeps=keeps) for _ in range(max(1, count // PIECE))]
    fields = ("blocks", "speed", "candidate", "valid", "mean", "se", "d")
    return Stopped(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def _run(drawn: tuple[Array, Array], gains: Array, looks: Sequence[int], *, keeps: bool) -> Stopped:
    count = len(drawn[0])
    d = [y[:, 2:] - (y[:, :1] + y[:, 1:2]) / 2 + gains[None, :, b, None] for b, y in enumerate(drawn)]
    z = [y[:, 1] - y[:, 0] for y in drawn]
    blocks = np.zeros(count, dtype=int)
    found: list[Array] = []
    taken: list[Evidence] = []
    left = np.arange(count)
    """Sessions that have not stopped; nothing more is asked of the others."""
    for blocks_now in looks:
        seen = [x[left, ..., :blocks_now] for x in d]
        gain = [estimate(x, ESTIMATOR) for x in seen]
        null = [estimate(x[left, ..., :blocks_now], ESTIMATOR) for x in z]
        cells = [
            evidence(g, floor_of(n, POLICY.min_gain)[:, None], POLICY, len(looks))
            for g, n in zip(gain, null, strict=True)
        ]
        if keeps and len(looks) > 1:
            cells = [kept(cell, _own(x)) for cell, x in zip(cells, seen, strict=True)]
        taken.append(
            Evidence(*(np.stack([getattr(c, f) for c in cells], axis=-1) for f in ("above", "below", "within")))
        )
        speed = judge(over_looks(taken, len(looks)), POLICY).overall
        off = biased(null[0], POLICY.bias_level) | biased(null[1], POLICY.bias_level)
        own = np.any([_own(x) for x in seen], axis=0)
        candidate = (speed == Speed.FASTER) & ~own & ~off[:, None]
        open_ = off[:, None] | (speed == Speed.UNRESOLVED) | ((speed == Speed.FASTER) & own)
        ends = ~open_.any(axis=1) | (blocks_now == looks[-1])
        values = [speed, candidate, ~off, np.stack([g.mean for g in gain], -1), np.stack([g.se for g in gain], -1)]
        found = found or [np.zeros((count, *each.shape[1:]), each.dtype) for each in values]
        for all_of, now in zip(found, values, strict=True):
            all_of[left[ends]] = now[ends]
        blocks[left[ends]] = blocks_now
        left = left[~ends]
        taken = [Evidence(one.above[~ends], one.below[~ends], one.within[~ends]) for one in taken]
        if not len(left):
            break
    return Stopped(blocks, *found, np.stack(d, axis=-2).astype(np.float32))


def _own(sample: Array) -> Flags:
    return set_aside(sample, ESTIMATOR, POLICY).eats_the_gain


def promoted(found: Stopped, looks: Sequence[int], sessions: int = 2, *, stalls: bool = True) -> float:
    """Rate at which some variant is promoted by the last of so many valid sessions in a row, which all call it faster;
    without the gate on stalls unless `stalls`."""
    chosen = np.flatnonzero(found.valid)
    runs = [np.roll(chosen, shift) for shift in range(sessions)]
    both = np.all([found.candidate[each] for each in runs], axis=0)
    times = np.where(found.blocks < looks[-1], EARLY, 1.0)[:, None]
    for budget in range(2):
        mean, se = found.mean[..., budget], found.se[..., budget]
        needed = allowance([se[each] * times[each] for each in runs], 1.5, found.candidate.shape[1], POLICY)
        both = both & (sum(mean[each] for each in runs) / sessions > needed)
    for run, variant in np.argwhere(both) if stalls else ():
        ids = [int(each[run]) for each in runs]
        both[run, variant] = all(_gain_left(found, ids, variant, budget) for budget in range(2))
    return float(both.any(axis=1).mean())


def _gain_left(found: Stopped, ids: Sequence[int], variant: int, budget: int) -> bool:
    """Whether stalls that these sessions may have missed leave a gain."""
    sample = np.concatenate([found.d[each, variant, budget, : found.blocks[each]] for each in ids])
    return missed(budget, sample.tolist(), ESTIMATOR, POLICY).least > 0


def _gains(variants: int, one: float, other: float) -> Array:
    return np.tile(np.log1p([one, other]), (variants, 1))


def _first(variants: int, gain: float) -> Array:
    """Only the first variant gains."""
    return np.log1p(np.where(np.arange(variants)[:, None] == 0, gain, 0.0)) * np.ones((1, 2))


SHAPES = {
    "calm": Shape(0.0, 0.0, BUDGETS_APART),
    "calm, one process": Shape(0.0, 0.0, BUDGETS_TOGETHER),
    "heavy tails": Shape(0.0, 0.0, BUDGETS_APART, heavy=True),
    "outliers": Shape(OUTLIERS, OUTLIERS, BUDGETS_APART),
    "outliers, one process": Shape(OUTLIERS, OUTLIERS, BUDGETS_TOGETHER),
    "quiet (0.5%)": Shape(0.0, 0.0, BUDGETS_APART, process_sd=0.005),
    "loud (2.5%)": Shape(0.0, 0.0, BUDGETS_APART, process_sd=0.025),
}
HEAD = (
    "noise, variants",
    "wrong CANDIDATE: equal",
    "20% at one, equal at the other",
    "REJECT of some equal kernel",
    "HOLD, 3% off",
    "HOLD, equal",
    "blocks, equal",
    "+3% found",
    "its blocks",
    "+20% found",
    "its blocks",
)
BOUNDS = {
    "CANDIDATE": ("wrong CANDIDATE", 0.01),
    "REJECT": ("REJECT of some equal kernel", 0.02),
    "HOLD": ("HOLD of a kernel that is 3% off", 0.05),
    "PROMOTE": ("wrong PROMOTE of two valid sessions, an arm off by 1% for a session", 0.01),
    "STALLS": ("wrong PROMOTE of two valid sessions that stop when decided, a variant that stalls", 0.01),
}
Rates = dict[str, list[tuple[float, int]]]


def calm_lines(rows: KeptRows, share: int) -> Iterator[Row]:
    """Yield the rows of one session, with what must hold."""
    yield Row(tuple(head(HEAD)))
    for variants in (1, 5):
        for name in SHAPES:
            yield rows.row(f"calm, {name}, {variants}", lambda n=name, v=variants: _calm(n, v, share))


def _calm(name: str, variants: int, share: int) -> Row:
    shape, count = SHAPES[name], max(PIECE, SESSIONS[variants] // share)
    rng = np.random.default_rng([SEED, variants, sum(name.encode())])
    equal = run(rng, count, variants, shape, _gains(variants, 0.0, 0.0), LOOKS)
    uneven = run(rng, count, variants, shape, _gains(variants, 0.2, 0.0), LOOKS)
    off = [run(rng, count, variants, shape, _gains(variants, g, g), LOOKS) for g in (0.03, -0.03)]
    # One variant, so that the session ends when the gain is found.
    right = [run(rng, count, variants, shape, _gains(variants, g, g), LOOKS) for g in (0.03, 0.2)]
    wrong = [float(each.candidate.any(axis=1).mean()) for each in (equal, uneven)]
    rejected = float(((equal.speed == Speed.SLOWER).any(axis=1) & equal.valid).mean())
    held = max(float((each.speed[:, 0] == Speed.EQUIVALENT).mean()) for each in off)
    noted = [*(("CANDIDATE", rate, count) for rate in wrong), ("REJECT", rejected, count), ("HOLD", held, count)]
    same = float((equal.speed[:, 0] == Speed.EQUIVALENT).mean())
    cells = [f"{100 * rate:.2f}" for rate in (*wrong, rejected, held)]
    cells += [f"{100 * same:.1f}", f"{equal.blocks.mean():.1f}"]
    for each in right:
        cells += [f"{100 * each.candidate[:, 0].mean():.1f}", f"{each.blocks.mean():.1f}"]
    return Row((line(f"{name}, {variants}", cells),), tuple(noted))


def promoted_lines(rows: KeptRows, share: int) -> Iterator[Row]:
    """Yield the rows of two sessions and more, with what must hold."""
    yield Row(tuple(head(("process sd, variants", "equal", *(f"+5%, {n} sessions" for n in SEVERAL)))))
    for variants in (1, 5):
        for sd in (0.005, 0.01, 0.025):
            yield rows.row(f"promoted, {sd}, {variants}", lambda s=sd, v=variants: _promoted(s, v, share))


def _promoted(sd: float, variants: int, share: int) -> Row:
    shape = Shape(0.0, 0.0, BUDGETS_TOGETHER, process_sd=sd, arm_sd=0.01)
    count = max(PIECE, PAIRED[variants] // share)
    rng = np.random.default_rng([SEED, variants, round(sd * 1e4)])
    equal, faster = (run(rng, count, variants, shape, _first(variants, g), LOOKS) for g in (0.0, 0.05))
    wrong = promoted(equal, LOOKS)
    rates = wrong, *(promoted(faster, LOOKS, sessions) for sessions in SEVERAL)
    noted = ("PROMOTE", wrong, max(1, int(equal.valid.sum())))
    return Row((line(f"{sd:.1%}, {variants}", [f"{100 * rate:.2f}" for rate in rates]),), (noted,))


def stalling_lines(rows: KeptRows, share: int) -> Iterator[Row]:
    """Yield how often a variant that stalls, and so gains nothing on average, is a candidate and promoted."""
    yield Row(
        tuple(
            head(
                (
                    "plan, it stalls in, it gains between stalls",
                    "wrong CANDIDATE",
                    "its blocks",
                    "promoted by two sessions without the gate",
                    *(f"by {n} sessions" for n in SEVERAL),
                )
            )
        )
    )
    for plan, looks in PLANS.items():
        for often in STALLS:
            yield rows.row(f"stalls, {plan}, {often}", lambda p=plan, o=often, at=looks: _stalling(p, o, at, share))


def _stalling(plan: str, often: int, looks: Sequence[int], share: int) -> Row:
    rate = STALLS[often]
    gain = float(np.expm1(-Shape.mean_loss(rate)))
    rng = np.random.default_rng([SEED, often, len(looks), looks[-1]])
    shape = Shape(0.0, rate, BUDGETS_TOGETHER)
    found = run(rng, max(PIECE, PAIRED[1] // share), 1, shape, _gains(1, gain, gain), looks)
    by = [promoted(found, looks, sessions) for sessions in SEVERAL]
    cells = [f"{100 * found.candidate.mean():.1f}", f"{found.blocks.mean():.1f}"]
    cells += [f"{100 * promoted(found, looks, stalls=False):.1f}", *(f"{100 * each:.2f}" for each in by)]
    noted = (("STALLS", by[0], max(1, int(found.valid.sum()))),) if looks is LOOKS else ()
    return Row((line(f"{plan}, 1 process in {often}, {gain:+.1%}", cells),), noted)


def sound_lines(rows: KeptRows, share: int) -> Iterator[Row]:
    """Yield how often a variant that gains what it seems to is promoted."""
    yield Row(tuple(head(("plan, noise, gain", "two without the gate", *(f"{n} sessions" for n in SEVERAL)))))
    for plan, looks in PLANS.items():
        for name in ("calm, one process", "outliers, one process"):
            for gain in (0.03, 0.05, 0.2):
                yield rows.row(
                    f"sound, {plan}, {name}, {gain}",
                    lambda p=plan, n=name, g=gain, at=looks: _sound(p, n, g, at, share),
                )


def _sound(plan: str, name: str, gain: float, looks: Sequence[int], share: int) -> Row:
    rng = np.random.default_rng([SEED, len(looks), looks[-1], sum(name.encode()), round(gain * 100)])
    found = run(rng, max(PIECE, SESSIONS[1] // share), 1, SHAPES[name], _gains(1, gain, gain), looks)
    rates = promoted(found, looks, stalls=False), *(promoted(found, looks, sessions) for sessions in SEVERAL)
    return Row((line(f"{plan}, {name}, +{gain:.0%}", [f"{100 * rate:.1f}" for rate in rates]),))


def fixed_lines(rows: KeptRows, share: int) -> Iterator[Row]:
    """Yield what plans of fixed blocks find of one variant that gains 3%, process sd 1%."""
    yield Row(tuple(head(("blocks", "calm", "outliers", "outliers, one process"))))
    for blocks in (6, 8, 10, 12, 16, 20):
        yield rows.row(f"fixed, {blocks}", lambda b=blocks: _fixed(b, share))


def _fixed(blocks: int, share: int) -> Row:
    found = []
    for name in ("calm", "outliers", "outliers, one process"):
        rng = np.random.default_rng([SEED, blocks, sum(name.encode())])
        each = run(rng, max(PIECE, SESSIONS[1] // share), 1, SHAPES[name], _gains(1, 0.03, 0.03), (blocks,))
        found.append(f"{100 * each.candidate.mean():.1f}")
    return Row((line(str(blocks), found),))


def head(names: Sequence[str]) -> list[str]:
    """Return the head of a table."""
    return ["| " + " | ".join(names) + " |", "| --- |" + " ---: |" * (len(names) - 1)]


def line(name: str, cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return f"| {name} | " + " | ".join(cells) + " |"


def bounds(worst: Rates) -> tuple[list[str], bool]:
    """Return the table of what must hold, each cell within three standard errors, and whether all of it does."""
    lines, all_held = head(("claim", "bound", "worst cell, %", "holds")), True
    for key, (claim, bound) in BOUNDS.items():
        held = all(rate <= bound + 3 * np.sqrt(bound * (1 - bound) / count) for rate, count in worst[key])
        high = max(rate for rate, _ in worst[key])
        lines.append(line(claim, [f"at most {bound:.0%}", f"{100 * high:.2f}", "yes" if held else "**no**"]))
        all_held &= held
    return lines, all_held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the sessions")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "decision-looks.md")
    options = parser.parse_args()
    share = 5 if options.quick else 1
    here = Path(__file__)
    rows = KeptRows("looks_error", (here, here.with_name("outlier_model.py")), share)
    worst: Rates = {key: [] for key in BOUNDS}
    sections: dict[str, list[str]] = {}
    for title, found in (
        ("## One session, at most 40 blocks", calm_lines(rows, share)),
        ("## Several sessions, an arm off by 1% for a session", promoted_lines(rows, share)),
        ("## A variant that stalls", stalling_lines(rows, share)),
        ("## A variant that does not", sound_lines(rows, share)),
        ("## Fixed plans, +3%", fixed_lines(rows, share)),
    ):
        sections[title] = []
        for row in found:
            sections[title] += row.lines
            for key, rate, count in row.noted:
                worst[key].append((rate, count))
    held_lines, held = bounds(worst)
    out = [INTRODUCTION.read_text().strip(), "", "## What must hold", "", *held_lines]
    for title, lines in sections.items():
        out += ["", title, "", *lines]
    options.out.write_text("\n".join(out) + "\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
