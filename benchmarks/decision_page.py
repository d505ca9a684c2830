"""The page that `decision_error.py` writes: what must hold, and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decision_model import RIGHT, WRONG, Noise, worst

INTRODUCTION = Path(__file__).with_name("decision_error.md.in")
BLOCKS = ((2, 2), (3, 2), (3, 3), (4, 4), (6, 6), (8, 8), (12, 12), (20, 20))
VARIANTS = (1, 5, 20)
PROCESS_SD = (0.005, 0.01, 0.025)
SHAPES = ("normal", "heavy", "cold", "trend")
PAIR_SD_1 = 0.01 / np.sqrt(2)
LEADS = (-0.01, 0.0, 0.03, 0.05)


@dataclass(frozen=True)
class Cell:
    """Rates of one simulated setting."""

    variants: int
    blocks: tuple[int, int]
    noise: Noise
    sessions: int
    candidate: dict[str, float]
    """Wrong CANDIDATE of some variant, by what is true of all variants."""
    promoted: dict[str, float]
    """Wrong PROMOTE in pairs of sessions run."""
    promoted_valid: dict[str, float]
    """Wrong PROMOTE in pairs of valid sessions: what someone sees who repeats a biased session."""
    promoted_plain: dict[str, float]
    """The same without the policy's allowance for arm effects."""
    equal: dict[str, float]
    """Shares of the verdicts on one equal kernel; `rejected`: some equal kernel of the session."""
    power: dict[str, float]
    """Right CANDIDATE of the one variant that is faster, beside equal ones."""
    promoted_right: dict[str, float]
    """Right PROMOTE of that variant in pairs of valid sessions."""
    valid: float


@dataclass(frozen=True)
class Rivals:
    """Rates at which each rule calls one variant faster at both budgets, on the same sessions."""

    noise: str
    blocks: tuple[int, int]
    truth: str
    rates: dict[str, float]


@dataclass(frozen=True)
class Replaced:
    """Rates at which a rival beats an incumbent, by its true lead: (in a session, for good)."""

    blocks: tuple[int, int]
    process_sd: float
    arm_sd: float
    rates: dict[float, tuple[float, float]]


@dataclass(frozen=True)
class Claim:
    """Something that must hold; rates over the cells that it is about."""

    text: str
    bound: str
    worst: float
    error: float
    """Monte-Carlo standard error of the worst cell."""
    mean: float
    held: bool
    """Within three standard errors in every cell."""


def bounds(cells: Sequence[Cell], rows: Sequence[Rivals]) -> list[Claim]:
    """What must hold."""
    calm = [c for c in cells if not c.noise.arm_sd and c.noise.shape != "every block cold"]
    moved = [c for c in cells if c.noise.arm_sd]

    def at_most(text: str, bound: float, pairs: list[tuple[float, int]]) -> Claim:
        known = [(rate, n) for rate, n in pairs if not np.isnan(rate) and n]
        high, count = max(known)
        held = all(rate <= bound + 3 * np.sqrt(bound * (1 - bound) / n) for rate, n in known)
        mean = float(np.mean([rate for rate, _ in known]))
        return Claim(text, f"at most {bound:.0%}", high, float(np.sqrt(high * (1 - high) / count)), mean, held)

    def power(blocks: int, variants: int) -> Claim:
        cell = next(
            c
            for c in calm
            if c.noise.process_sd == PAIR_SD_1 and c.blocks == (blocks, blocks) and c.variants == variants
        )
        rate = cell.power["+3%"]
        error = float(np.sqrt(rate * (1 - rate) / cell.sessions))
        claim = f"+3% at pair sd 1% is CANDIDATE, {blocks} blocks, {variants} variant{'s' if variants > 1 else ''}"
        return Claim(claim, "at least 90%", rate, error, rate, rate >= 0.9)

    medians = [r.rates["median"] for r in rows if r.truth == "equal" and "arm" not in r.noise]
    farthest = max(medians, key=lambda rate: abs(rate - 0.25))
    few = min(c.sessions for c in cells if c.variants == 1)
    return [
        at_most(
            "wrong CANDIDATE, no arm effect, every setting",
            0.01,
            [(rate, c.sessions) for c in calm for rate in c.candidate.values()],
        ),
        at_most(
            "wrong PROMOTE with an arm effect of 1%, of pairs of sessions run",
            0.01,
            [(rate, c.sessions) for c in moved for rate in c.promoted.values()],
        ),
        at_most(
            "wrong PROMOTE with an arm effect of 1%, of pairs of valid sessions",
            0.01,
            [(rate, round(c.sessions * c.valid)) for c in moved for rate in c.promoted_valid.values()],
        ),
        at_most(
            "REJECT(performance) of some equal kernel, no arm effect",
            0.02,
            [(c.equal["rejected"], c.sessions) for c in calm],
        ),
        power(6, 1),
        power(8, 5),
        Claim(
            'the rule "median above 1 at both budgets" calls equal kernels faster',
            "25%",
            farthest,
            float(np.sqrt(0.25 * 0.75 / few)),
            float(np.mean(medians)),
            abs(farthest - 0.25) < 4 * np.sqrt(0.25 * 0.75 / few),
        ),
    ]


def _blocks(blocks: tuple[int, int]) -> str:
    return str(blocks[0]) if blocks[0] == blocks[1] else f"{blocks[0]} / {blocks[1]}"


def _percent(rate: float) -> str:
    return "–" if np.isnan(rate) else f"{100 * rate:.2f}" if rate < 0.1 else f"{100 * rate:.1f}"


def _table(head: list[str], lines: list[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in [head, rule, *lines]] + [""]


def document(cells: Sequence[Cell], rows: Sequence[Rivals], replaced: Sequence[Replaced]) -> str:
    """Write the page."""
    calm = [c for c in cells if not c.noise.arm_sd and c.noise.shape in SHAPES]
    moved = [c for c in cells if c.noise.arm_sd]
    colds = [c for c in cells if c.noise.shape == "every block cold"]
    out = [INTRODUCTION.read_text().strip(), "", "## What must hold", ""]
    out += _table(
        ["claim", "bound", "worst cell, %", "its standard error", "mean over cells, %", "holds"],
        [
            [c.text, c.bound, _percent(c.worst), _percent(c.error), _percent(c.mean), "yes" if c.held else "**no**"]
            for c in bounds(cells, rows)
        ],
    )
    out += ["## Wrong CANDIDATE without an arm effect", ""]
    out += [
        "Percent of sessions in which some variant is called CANDIDATE though what stands in the first column is",
        "true of all of them; worst over process sd 0.5, 1 and 2.5% and over the number of blocks.",
        "",
    ]
    out += _table(
        ["true of every variant", *(f"{s}, {v} var." for s in SHAPES for v in VARIANTS)],
        [
            [
                name,
                *(
                    _percent(worst([c.candidate[name] for c in calm if c.noise.shape == s and c.variants == v]))
                    for s in SHAPES
                    for v in VARIANTS
                ),
            ]
            for name in WRONG
        ],
    )
    out += [
        "## An equal kernel",
        "",
        "Percent of the verdicts on one equal kernel (normal noise, one variant), and of sessions that reject some",
        "equal kernel as slower, worst over all shapes of noise.",
        "",
    ]
    out += _table(
        [
            "blocks",
            *(f"{what}, sd {sd:.1%}" for sd in PROCESS_SD for what in ("HOLD", "INCONCLUSIVE", "REJECT")),
            *(f"rejected, {v} var." for v in VARIANTS),
        ],
        [
            [
                _blocks(b),
                *(
                    _percent(_one(calm, 1, b, sd).equal[what])
                    for sd in PROCESS_SD
                    for what in ("HOLD", "INCONCLUSIVE", "REJECT")
                ),
                *(
                    _percent(worst([c.equal["rejected"] for c in calm if c.blocks == b and c.variants == v]))
                    for v in VARIANTS
                ),
            ]
            for b in BLOCKS
        ],
    )
    out += [
        "## What it finds",
        "",
        "Percent of sessions in which the one faster variant is CANDIDATE, beside equal ones (normal noise).",
        "",
    ]
    for sd in (0.005, PAIR_SD_1, 0.01, 0.025):
        out += [f"Process sd {sd:.2%} (pair sd {sd * np.sqrt(2):.2%}):", ""]
        out += _table(
            ["blocks", *(f"{gain}, {v} var." for v in VARIANTS for gain in RIGHT)],
            [[_blocks(b), *(_percent(_one(calm, v, b, sd).power[g]) for v in VARIANTS for g in RIGHT)] for b in BLOCKS],
        )
    out += [
        "## With an arm-by-session effect of 1%",
        "",
        "An arm that is off for a whole session looks like a gain that no number of blocks averages away. Worst over",
        "the four cases of the first table, over process sd and over normal and heavy tails, percent.",
        "",
    ]
    out += _table(
        [
            "blocks, variants",
            "session biased",
            "wrong CANDIDATE",
            "wrong PROMOTE of two run",
            "of two valid",
            "of two valid without the allowance",
            "REJECT of some equal kernel",
        ],
        [
            [
                f"{_blocks(b)}, {v}",
                _percent(1 - min(c.valid for c in found)),
                *(
                    _percent(worst([r for c in found for r in getattr(c, f).values()]))
                    for f in ("candidate", "promoted", "promoted_valid", "promoted_plain")
                ),
                _percent(worst([c.equal["rejected"] for c in found])),
            ]
            for v in VARIANTS
            for b in BLOCKS[1:]
            for found in [[c for c in moved if c.blocks == b and c.variants == v]]
        ],
    )
    out += ["What the allowance costs: percent of pairs of valid sessions that promote the one faster variant.", ""]
    out += _table(
        [
            "blocks, process sd",
            *(f"{g}, {v} var., {k}" for v in (1, 5) for g in ("+2%", "+3%", "+5%") for k in ("calm", "arm effect")),
        ],
        [
            [
                f"{_blocks(b)}, {sd:.1%}",
                *(
                    _percent(_one(group, v, b, sd).promoted_right[g])
                    for v in (1, 5)
                    for g in ("+2%", "+3%", "+5%")
                    for group in (calm, moved)
                ),
            ]
            for b in ((6, 6), (8, 8), (12, 12), (20, 20))
            for sd in (0.005, 0.01)
        ],
    )
    out += [
        "## A rival of the incumbent",
        "",
        "The incumbent is truly 5% faster than the stock model and measured in the same blocks. Percent of sessions",
        "in which a rival beats both, and of pairs of valid sessions that put it in the incumbent's place, by the",
        "rival's true lead.",
        "",
    ]
    out += _table(
        [
            "blocks, process sd, arm effect",
            *(f"{lead:+.0%}, {what}" for what in ("session", "replaced") for lead in LEADS),
        ],
        [
            [
                f"{_blocks(r.blocks)}, {r.process_sd:.1%}, {r.arm_sd:.0%}",
                *(_percent(r.rates[lead][place]) for place in (0, 1) for lead in LEADS),
            ]
            for r in replaced
        ],
    )
    out += [
        "## Other rules on the same sessions",
        "",
        "Percent of sessions in which one variant is called faster at both budgets.",
        "",
    ]
    out += _table(
        ["noise, truth, blocks", "median above 1", "Welch, unpaired", "runs pooled", "zmlx CANDIDATE"],
        [
            [
                f"{r.noise}, {r.truth}, {_blocks(r.blocks)}",
                *(_percent(r.rates[k]) for k in ("median", "welch", "pooled", "zmlx")),
            ]
            for r in rows
        ],
    )
    out += [
        "## Outside the contract: every block starts cold",
        "",
        "Were the first process of every block 6% off, as the warm-up process prevents, pairs would not be comparable",
        "with few blocks: percent, one variant, worst over process sd.",
        "",
    ]
    out += _table(
        ["blocks", "wrong CANDIDATE", "REJECT of an equal kernel"],
        [
            [
                _blocks(b),
                _percent(worst([r for c in colds if c.blocks == b for r in c.candidate.values()])),
                _percent(worst([c.equal["rejected"] for c in colds if c.blocks == b])),
            ]
            for b in BLOCKS
        ],
    )
    return "\n".join(out).rstrip() + "\n"


def _one(cells: Sequence[Cell], variants: int, blocks: tuple[int, int], sd: float) -> Cell:
    return next(
        c
        for c in cells
        if (c.variants, c.blocks, c.noise.process_sd, c.noise.shape) == (variants, blocks, sd, "normal")
    )
