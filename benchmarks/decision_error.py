"""How often the decision is wrong, and what it finds: writes docs/decision-error.md.

    python benchmarks/decision_error.py [--quick] [--out FILE]

Seeded: the same version of numpy gives the same tables. A quarter of an hour on one core; `--quick` a minute.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from decision_model import (
    RIGHT,
    WRONG,
    Noise,
    Outcome,
    Sessions,
    decide,
    others,
    promotions,
    replacement,
    simulate,
    true_gains,
)
from decision_page import (
    BLOCKS,
    LEADS,
    PAIR_SD_1,
    PROCESS_SD,
    SHAPES,
    VARIANTS,
    Cell,
    Replaced,
    Rivals,
    bounds,
    document,
)

from zmlx_bench.analysis.decision.speed import Speed
from zmlx_bench.files import read_toml
from zmlx_bench.schema.policy import Policy

ROOT = Path(__file__).resolve().parents[1]
ARM_SD = 0.01
SESSIONS = {1: 10_000, 5: 3_000, 20: 1_000}
SEED = 20261122

Gains = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def run_cell(variants: int, blocks: tuple[int, int], noise: Noise, sessions: int, policy: Policy) -> Cell:
    """Simulate one setting with a generator of its own."""
    key = [SEED, variants, *blocks, round(noise.process_sd * 1e6), sum(noise.shape.encode()), int(noise.arm_sd > 0)]
    drawn = simulate(np.random.default_rng(key), sessions, variants, blocks, noise, policy)
    plain = policy.model_copy(update={"arm_effect": 0.0})
    candidate, promoted, promoted_valid, promoted_plain = {}, {}, {}, {}
    equal: dict[str, float] = {}
    valid = 0.0
    for name, gains in WRONG.items():
        true = true_gains(gains, variants, one=False)
        outcome = decide(drawn, true, policy)
        candidate[name] = float(outcome.candidate.any(axis=1).mean())
        if noise.arm_sd:
            promoted[name], promoted_valid[name] = promotions(drawn, outcome, true, policy)
            promoted_plain[name] = promotions(drawn, outcome, true, plain)[1]
        if name == "equal":
            equal, valid = _equal_verdicts(outcome), float(outcome.valid.mean())
    power, promoted_right = {}, {}
    for name, gains in RIGHT.items():
        true = true_gains(gains, variants, one=True)
        outcome = decide(drawn, true, policy)
        power[name] = float(outcome.candidate[:, 0].mean())
        first = _only_first(drawn, outcome, true)
        promoted_right[name] = promotions(*first, _as_planned(policy, variants))[1]
    return Cell(
        variants,
        blocks,
        noise,
        sessions,
        candidate,
        promoted,
        promoted_valid,
        promoted_plain,
        equal,
        power,
        promoted_right,
        valid,
    )


def _only_first(drawn: Sessions, outcome: Outcome, true: Gains) -> tuple[Sessions, Outcome, Gains]:
    gain = [replace(g, mean=g.mean[:, :1], se=g.se[:, :1]) for g in drawn.gain]
    own = (drawn.own_outliers[0][:, :1], drawn.own_outliers[1][:, :1])
    kept = Outcome(outcome.speed[:, :1], outcome.candidate[:, :1], outcome.valid)
    return replace(drawn, gain=(gain[0], gain[1]), own_outliers=own), kept, (true[0][:1], true[1][:1])


def _as_planned(policy: Policy, variants: int) -> Policy:
    """Bonferroni over all planned variants when only one of them is looked at."""
    return policy.model_copy(update={"promote_alpha": policy.promote_alpha / variants})


def _equal_verdicts(outcome: Outcome) -> dict[str, float]:
    first = outcome.speed[:, 0]
    return {
        "rejected": float((outcome.speed == Speed.SLOWER).any(axis=1).mean()),
        "HOLD": float((first == Speed.EQUIVALENT).mean()),
        "INCONCLUSIVE": float((first == Speed.UNRESOLVED).mean()),
        "REJECT": float((first == Speed.SLOWER).mean()),
    }


def all_cells(policy: Policy, quick: bool) -> list[Cell]:
    """Simulate every setting of the tables."""
    divisor = 20 if quick else 1
    cells = []
    for variants, blocks in itertools.product(VARIANTS, BLOCKS):
        count = SESSIONS[variants] // divisor
        for sd in (*PROCESS_SD, PAIR_SD_1):
            shapes = SHAPES if sd != PAIR_SD_1 else ("normal",)
            cells += [run_cell(variants, blocks, Noise(sd, shape), count, policy) for shape in shapes]
            if sd != PAIR_SD_1:
                cells += [run_cell(variants, blocks, Noise(sd, s, ARM_SD), count, policy) for s in ("normal", "heavy")]
        if variants == 1:
            cells += [run_cell(1, blocks, Noise(sd, "every block cold"), count, policy) for sd in PROCESS_SD]
        print(f"{variants} variants, {blocks[0]}/{blocks[1]} blocks", file=sys.stderr)
    return cells


def compare(policy: Policy, quick: bool) -> list[Rivals]:
    """Run the other rules on the sessions of one variant."""
    rows = []
    count = SESSIONS[1] // (20 if quick else 1)
    for label, noise in (
        ("process sd 1%", Noise(0.01)),
        ("process sd 1%, arm effect 1%", Noise(0.01, arm_sd=ARM_SD)),
    ):
        for blocks in BLOCKS[1:]:
            rng = np.random.default_rng([SEED, *blocks, int(noise.arm_sd > 0)])
            drawn = simulate(rng, count, 1, blocks, noise, policy)
            truths = {"equal": WRONG["equal"], "20% / equal": (0.2, 0.0), "+3%": RIGHT["+3%"]}
            for name, gains in truths.items():
                true = true_gains(gains, 1, one=False)
                rates = dict(others(rng, drawn, true, policy.faster_alpha))
                rates["zmlx"] = float(decide(drawn, true, policy).candidate.mean())
                rows.append(Rivals(label, blocks, name, rates))
    return rows


def replace_incumbents(policy: Policy, quick: bool) -> list[Replaced]:
    """Measure a rival against an incumbent that is truly 5% faster than the stock model."""
    rows = []
    for blocks in ((4, 4), (6, 6), (8, 8), (12, 12), (20, 20)):
        for sd in (0.005, 0.01):
            for arm_sd in (0.0, ARM_SD):
                rng = np.random.default_rng([SEED, 3, *blocks, round(sd * 1e6), int(arm_sd > 0)])
                count = SESSIONS[1] // (20 if quick else 1)
                drawn = simulate(rng, count, 2, blocks, Noise(sd, arm_sd=arm_sd), policy)
                rates = {lead: replacement(drawn, float(np.log1p(lead)), policy) for lead in LEADS}
                rows.append(Replaced(blocks, sd, arm_sd, rates))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the sessions")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "decision-error.md")
    options = parser.parse_args()
    policy = read_toml(ROOT / "variants" / "policy.toml", Policy)
    cells, rows = all_cells(policy, options.quick), compare(policy, options.quick)
    text = document(cells, rows, replace_incumbents(policy, options.quick))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)
    return 0 if all(claim.held for claim in bounds(cells, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
