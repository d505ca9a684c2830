"""How often a step of `zmlx bisect` is wrong, and what a search among eight versions finds, at recorded noise.

    python benchmarks/bisect_error.py [--at-most BLOCKS] [--steps N] [--searches N]

A process's noise is drawn from what is left of ln(tok/s) in the landed sessions (`recorded_noise.py`): of one session
at a time, each as often as any other. "Arms off" is an effect of 1% of each arm for a whole session, as the policy has
it, on top. The looks are those of `zmlx bisect`, the functions those that decide (`zmlx_bench/analysis/`). Seeded.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from recorded_noise import POLICY, ROOT, Speeds, speeds

from zmlx_bench.analysis.halving import Answer, between, next_version
from zmlx_bench.analysis.likeness import Look, look, name_of, told
from zmlx_bench.protocol.looks import AT_MOST_OF_STEP, looks_of
from zmlx_bench.protocol.plan import ESTIMATOR

FEWEST = max(POLICY.min_blocks.values())
VERSIONS = 8
SEED = 20261129
Array = npt.NDArray[np.float64]
Looks = tuple[int, ...]


def residuals(arms: Speeds) -> Array | None:
    """Return what block and arm leave of ln(tok/s), of full size; None with fewer than two arms or blocks."""
    blocks = sorted(set.intersection(*(set(of) for of in arms.values())))
    if len(arms) < 2 or len(blocks) < 2:
        return None
    logs = np.log([[of[block] for block in blocks] for of in arms.values()])
    left = logs - logs.mean(axis=0) - logs.mean(axis=1, keepdims=True) + logs.mean()
    rows, columns = left.shape
    # Taking the means away shrinks what is left.
    return np.asarray((left * math.sqrt(rows * columns / ((rows - 1) * (columns - 1)))).ravel())


def recorded(folder: Path) -> list[Array]:
    """Return the residuals of each landed session at each budget."""
    found = [residuals(arms) for each in sorted(folder.iterdir()) if each.is_dir() for arms in speeds(each).values()]
    return [each for each in found if each is not None and each.any()]


def drawn(rng: np.random.Generator, noise: list[Array], count: int, blocks: int, arm_sd: float) -> Array:
    """Return the noise of `count` sessions, (3 arms, count, blocks)."""
    chosen = [noise[at] for at in rng.integers(len(noise), size=count)]
    picked = np.stack([rng.choice(of, (3, blocks)) for of in chosen], axis=1)
    return np.asarray(picked + rng.normal(0.0, arm_sd, (3, count, 1)))


def step(noise: Array, looks: Looks, change: float, at: float) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]:
    """Return what a step says when it stops (likeness) and after how many blocks, by session."""
    good, bad, asked = noise[0], noise[1] + change, noise[2] + at * change
    count = noise.shape[1]
    said, blocks = np.zeros(count, dtype=np.int_), np.full(count, looks[-1])
    going = np.ones(count, dtype=np.bool_)
    least = np.ones((2, count))
    for seen in looks:
        one = look(
            *(of[going][:, :seen] for of in (good, bad, asked)), 1 if change > 0 else -1, POLICY.arm_effect, ESTIMATOR
        )
        least[:, going] = np.fmin(least[:, going], [one.off_good, one.off_bad])
        found = told(Look(*least[:, going, None], one.beyond), len(looks))
        done = np.flatnonzero(going)[found != 0]
        said[done], blocks[done] = found[found != 0], seen
        going[done] = False
        if not going.any():
            break
    return said, blocks


def steps(noise: list[Array], looks: Looks, count: int) -> Iterator[str]:
    """Yield the rows of single steps."""
    yield "| change | arms off | wrong, % | right, % | undecided, % | blocks, mean |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: |"
    for change in (0.05, 0.1, 0.2, 0.5):
        for arm_sd in (0.0, POLICY.arm_effect):
            rng = np.random.default_rng([SEED, round(change * 100), round(arm_sd * 1e4)])
            said, blocks = [], []
            for at, right in ((0.0, -1), (1.0, 1)):
                found, took = step(drawn(rng, noise, count, looks[-1], arm_sd), looks, math.log1p(-change), at)
                said.append(found * right)
                blocks.append(took)
            all_said, took = np.concatenate(said), np.concatenate(blocks)
            shares = [100 * float((all_said == of).mean()) for of in (-1, 1, 0)]
            cells = [f"{shares[0]:.3f}", *(f"{share:.1f}" for share in shares[1:]), f"{took.mean():.1f}"]
            yield f"| -{change:.0%} | {'1%' if arm_sd else 'no'} | {' | '.join(cells)} |"


def searches(noise: list[Array], looks: Looks, count: int) -> Iterator[str]:
    """Yield the rows of whole searches among `VERSIONS`, whose change is at a place drawn at random."""
    yield "| change | wrong, % | right, % | undecided, % | steps, mean | blocks in all, mean |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for change in (0.05, 0.1, 0.2, 0.5):
        rng = np.random.default_rng([SEED, VERSIONS, round(change * 100)])
        tally, asked, ran = {"wrong": 0, "right": 0, "undecided": 0}, 0, 0
        for _ in range(count):
            # One machine a search: its noise is that of one recorded session.
            machine = [noise[rng.integers(len(noise))]]
            place, answers = int(rng.integers(1, VERSIONS)), dict[int, Answer]()
            while (at := next_version(VERSIONS, answers)) is not None:
                said, took = step(
                    drawn(rng, machine, 1, looks[-1], 0.0), looks, math.log1p(-change), float(at >= place)
                )
                answers[at] = name_of(int(said[0]))
                asked, ran = asked + 1, ran + int(took[0])
            known = between(VERSIONS, answers)
            inside = known.last_good < place <= known.first_bad
            tally["wrong" if not inside else "right" if known.found else "undecided"] += 1
        cells = [f"{100 * tally[what] / count:.1f}" for what in ("wrong", "right", "undecided")]
        yield f"| -{change:.0%} | {' | '.join(cells)} | {asked / count:.1f} | {ran / count:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-most", type=int, default=AT_MOST_OF_STEP, help="most blocks of a step")
    parser.add_argument("--steps", type=int, default=1_000, help="steps like each end, a row")
    parser.add_argument("--searches", type=int, default=100, help="searches a row; 0 for none")
    asked = parser.parse_args()
    looks = looks_of(FEWEST, asked.at_most)
    noise = recorded(ROOT / "capsules")
    spread = [float(each.std()) for each in noise]
    print(f"{len(noise)} recorded noises, sd {min(spread):.1%} to {max(spread):.1%}; looks after {looks}\n")
    for line in steps(noise, looks, asked.steps):
        print(line, flush=True)
    print()
    for line in searches(noise, looks, asked.searches) if asked.searches else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
