"""How often a session that stops when decided is wrong, and how many blocks it takes: writes docs/decision-looks.md.

    python benchmarks/looks_error.py [--quick]

Simulated sessions are looked at as `zmlx run --until-decided --at-most 40` looks at them, with the functions that
decide (`zmlx_bench/analysis/decision/`). Seeded; a quarter of an hour on one core, `--quick` some minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from outlier_model import BUDGETS_APART, BUDGETS_TOGETHER, OUTLIERS, STALLS, Shape, sessions

from zmlx_bench.analysis.decision.group import EARLY, allowance
from zmlx_bench.analysis.decision.outliers import set_aside
from zmlx_bench.analysis.decision.speed import Evidence, Speed, evidence, judge, over_looks
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


def run(
    rng: np.random.Generator, count: int, variants: int, shape: Shape, gains: Array, looks: Sequence[int]
) -> Stopped:
    """Simulate `count` sessions whose variants truly gain `gains` (log, (variants, budgets))."""
    parts = [_run(rng, PIECE, variants, shape, gains, looks) for _ in range(max(1, count // PIECE))]
    fields = ("blocks", "speed", "candidate", "valid", "mean", "se")
    return Stopped(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def _run(
    rng: np.random.Generator, count: int, variants: int, shape: Shape, gains: Array, looks: Sequence[int]
) -> Stopped:
    drawn = sessions(rng, count, variants, looks[-1], shape)
    d = [y[:, 2:] - (y[:, :1] + y[:, 1:2]) / 2 + gains[None, :, b, None] for b, y in enumerate(drawn)]
    z = [y[:, 1] - y[:, 0] for y in drawn]
    blocks = np.zeros(count, dtype=int)
    found: list[Array] = []
    taken: list[Evidence] = []
    going = np.ones(count, dtype=bool)
    for blocks_now in looks:
        gain = [estimate(x[..., :blocks_now], ESTIMATOR) for x in d]
        null = [estimate(x[..., :blocks_now], ESTIMATOR) for x in z]
        cells = [
            evidence(g, floor_of(n, POLICY.min_gain)[:, None], POLICY, len(looks))
            for g, n in zip(gain, null, strict=True)
        ]
        taken.append(
            Evidence(*(np.stack([getattr(c, f) for c in cells], axis=-1) for f in ("above", "below", "within")))
        )
        speed = judge(over_looks(taken, len(looks)), POLICY).overall
        off = biased(null[0], POLICY.bias_level) | biased(null[1], POLICY.bias_level)
        own = np.any([_own(x[..., :blocks_now]) for x in d], axis=0)
        candidate = (speed == Speed.FASTER) & ~own & ~off[:, None]
        left = off[:, None] | (speed == Speed.UNRESOLVED) | ((speed == Speed.FASTER) & own)
        ends = going & (~left.any(axis=1) | (blocks_now == looks[-1]))
        values = [speed, candidate, ~off, np.stack([g.mean for g in gain], -1), np.stack([g.se for g in gain], -1)]
        found = values if not found else [_where(ends, new, old) for new, old in zip(values, found, strict=True)]
        blocks[ends] = blocks_now
        going &= ~ends
    return Stopped(blocks, *found)


def _where(ends: Flags, new: Array, old: Array) -> Array:
    return np.asarray(np.where(ends.reshape(-1, *[1] * (new.ndim - 1)), new, old))


def _own(sample: Array) -> Flags:
    return set_aside(sample, ESTIMATOR, POLICY).eats_the_gain


def promoted(found: Stopped, looks: Sequence[int]) -> float:
    """Rate at which some variant is promoted by a pair of valid sessions."""
    chosen = np.flatnonzero(found.valid)
    one, two = chosen, np.roll(chosen, 1)
    both = found.candidate[one] & found.candidate[two]
    times = np.where(found.blocks < looks[-1], EARLY, 1.0)[:, None]
    for budget in range(2):
        mean, se = found.mean[..., budget], found.se[..., budget]
        spread = [se[one] * times[one], se[two] * times[two]]
        needed = allowance(spread, 1.5, found.candidate.shape[1], POLICY)
        both = both & ((mean[one] + mean[two]) / 2 > needed)
    return float(both.any(axis=1).mean())


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
}
Rates = dict[str, list[tuple[float, int]]]


def calm_lines(share: int, worst: Rates) -> Iterator[str]:
    """Yield the rows of one session; note what must hold."""
    yield from head(HEAD)
    for variants in (1, 5):
        count = max(PIECE, SESSIONS[variants] // share)
        for name, shape in SHAPES.items():
            rng = np.random.default_rng([SEED, variants, sum(name.encode())])
            equal = run(rng, count, variants, shape, _gains(variants, 0.0, 0.0), LOOKS)
            uneven = run(rng, count, variants, shape, _gains(variants, 0.2, 0.0), LOOKS)
            off = [run(rng, count, variants, shape, _gains(variants, g, g), LOOKS) for g in (0.03, -0.03)]
            # One variant, so that the session ends when the gain is found.
            right = [run(rng, count, variants, shape, _gains(variants, g, g), LOOKS) for g in (0.03, 0.2)]
            wrong = [float(each.candidate.any(axis=1).mean()) for each in (equal, uneven)]
            rejected = float(((equal.speed == Speed.SLOWER).any(axis=1) & equal.valid).mean())
            held = max(float((each.speed[:, 0] == Speed.EQUIVALENT).mean()) for each in off)
            worst["CANDIDATE"] += [(rate, count) for rate in wrong]
            worst["REJECT"].append((rejected, count))
            worst["HOLD"].append((held, count))
            same = float((equal.speed[:, 0] == Speed.EQUIVALENT).mean())
            cells = [f"{100 * rate:.2f}" for rate in (*wrong, rejected, held)]
            cells += [f"{100 * same:.1f}", f"{equal.blocks.mean():.1f}"]
            for each in right:
                cells += [f"{100 * each.candidate[:, 0].mean():.1f}", f"{each.blocks.mean():.1f}"]
            yield line(f"{name}, {variants}", cells)


def promoted_lines(share: int, worst: Rates) -> Iterator[str]:
    """Yield the rows of two sessions; note what must hold."""
    yield from head(("process sd, variants", "equal, promoted", "+5%, promoted"))
    for variants in (1, 5):
        for sd in (0.005, 0.01, 0.025):
            shape = Shape(0.0, 0.0, BUDGETS_TOGETHER, process_sd=sd, arm_sd=0.01)
            count = max(PIECE, PAIRED[variants] // share)
            rng = np.random.default_rng([SEED, variants, round(sd * 1e4)])
            equal, faster = (run(rng, count, variants, shape, _first(variants, g), LOOKS) for g in (0.0, 0.05))
            rates = promoted(equal, LOOKS), promoted(faster, LOOKS)
            worst["PROMOTE"].append((rates[0], max(1, int(equal.valid.sum()))))
            yield line(f"{sd:.1%}, {variants}", [f"{100 * rate:.2f}" for rate in rates])


def stalling_lines(share: int) -> Iterator[str]:
    """Yield how often a variant that stalls, and so gains nothing on average, is a candidate and promoted."""
    yield from head(
        ("it stalls in, it gains between stalls", "wrong CANDIDATE", "its blocks", "promoted by two sessions")
    )
    for often, rate in STALLS.items():
        gain = float(np.expm1(-Shape.mean_loss(rate)))
        rng = np.random.default_rng([SEED, often])
        shape = Shape(0.0, rate, BUDGETS_TOGETHER)
        found = run(rng, max(PIECE, SESSIONS[1] // share), 1, shape, _gains(1, gain, gain), LOOKS)
        rates = found.candidate.mean(), promoted(found, LOOKS)
        cells = [f"{100 * rates[0]:.1f}", f"{found.blocks.mean():.1f}", f"{100 * rates[1]:.1f}"]
        yield line(f"1 process in {often}, {gain:+.1%}", cells)


def fixed_lines(share: int) -> Iterator[str]:
    """Yield what plans of fixed blocks find of one variant that gains 3%, process sd 1%."""
    yield from head(("blocks", "calm", "outliers", "outliers, one process"))
    for blocks in (6, 8, 10, 12, 16, 20):
        found = []
        for name in ("calm", "outliers", "outliers, one process"):
            rng = np.random.default_rng([SEED, blocks, sum(name.encode())])
            each = run(rng, max(PIECE, SESSIONS[1] // share), 1, SHAPES[name], _gains(1, 0.03, 0.03), (blocks,))
            found.append(f"{100 * each.candidate.mean():.1f}")
        yield line(str(blocks), found)


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
    worst: Rates = {key: [] for key in BOUNDS}
    sections: dict[str, list[str]] = {}
    for title, lines in (
        ("## One session, at most 40 blocks", calm_lines(share, worst)),
        ("## Two sessions, an arm off by 1% for a session", promoted_lines(share, worst)),
        ("## A variant that stalls", stalling_lines(share)),
        ("## Fixed plans, +3%", fixed_lines(share)),
    ):
        sections[title] = []
        for each in lines:
            print(each, file=sys.stderr, flush=True)
            sections[title].append(each)
    held_lines, held = bounds(worst)
    out = [INTRODUCTION.read_text().strip(), "", "## What must hold", "", *held_lines]
    for title, each in sections.items():
        out += ["", title, "", *each]
    options.out.write_text("\n".join(out) + "\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
