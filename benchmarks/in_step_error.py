"""How often the decision is wrong where something slows processes in step with the session: prints a table.

    python benchmarks/in_step_error.py [--quick] [--variants N] [--algorithm 2]

Something else on the machine slows one process in `every`, at regular times, or a process is slowed by what ran before
it, as by heat, or each one is slower than that before it, or an arm is off for a whole session. Arms are equal. Orders
are drawn as in a real session, one process serves both budgets, and the functions that decide are those of `zmlx
promote`; with `--algorithm 2` both are as in sessions that were planned so. Seeded; some minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from drawn_orders import drawn_orders
from looks_error import LOOKS, PIECE, POLICY, promoted, run_drawn

from zmlx_bench.analysis.decision.speed import Speed
from zmlx_bench.protocol.plan import ALGORITHM

PROCESS_SD = 0.005
BUDGET_SD = 0.003
"""What the budgets of a process do not share."""
SEED = 20261205
SESSIONS = 8_000
PLANS: dict[str, Sequence[int]] = {"3 blocks": (3,), "6 blocks": (6,), "12 blocks": (12,), "until decided": LOOKS}
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Disturbance:
    """What slows processes: by `slower` of their speed."""

    slower: float
    every: float | None
    """One process in so many, counted from a random one; None: each one that comes after the variant's."""
    arm_sd: float = 0.0
    """Of an arm that is off for the whole session (log); the policy allows for `arm_effect`."""
    drift: float = 0.0
    """By how much each process is slower than the one before it (log)."""


SHAPES = {
    "none": Disturbance(0.0, 3),
    **{
        f"one process in {every:g}, {slower:.0%}": Disturbance(slower, every)
        for slower in (0.05, 0.1, 0.2)
        for every in (2, 3, 3.3, 4, 5, 6)
    },
    "what follows the variant, 2%": Disturbance(0.02, None),
    "what follows the variant, 5%": Disturbance(0.05, None),
    "each after the one before, 1%": Disturbance(0.0, 3, drift=0.01),
    "an arm off for a session, sd 1%": Disturbance(0.0, 3, 0.01),
    "an arm off for a session, sd 3%": Disturbance(0.0, 3, 0.03),
}


def draw(
    rng: np.random.Generator,
    blocks: int,
    shape: Disturbance,
    count: int = PIECE,
    variants: int = 1,
    algorithm: int = ALGORITHM,
) -> tuple[Array, Array]:
    """Return ln(speed) of equal arms (sessions, arms, blocks) at both budgets: baseline, null, variants, of which the
    last is the one that is followed."""
    arms = 2 + variants
    order = drawn_orders(rng, count, arms, blocks, algorithm).reshape(count, -1)
    if shape.every is None:
        hit = np.zeros(order.shape, dtype=bool)
        hit[:, 1:] = order[:, :-1] == arms - 1
    else:
        began = rng.random((count, 1)) * shape.every
        hit = (np.arange(order.shape[1]) + began) % shape.every < 1
    speed = rng.normal(0.0, PROCESS_SD, order.shape) + np.log1p(-shape.slower) * hit
    speed -= shape.drift * np.arange(order.shape[1])
    places = order.reshape(count, blocks, arms).argsort(axis=-1)
    in_blocks = np.take_along_axis(speed.reshape(count, blocks, arms), places, axis=-1).swapaxes(1, 2)
    in_blocks = in_blocks + rng.normal(0.0, shape.arm_sd, (count, arms, 1))
    both = [in_blocks + rng.normal(0.0, BUDGET_SD, in_blocks.shape) for _ in range(2)]
    return both[0], both[1]


def rates(
    shape: Disturbance, looks: Sequence[int], sessions: int, variants: int = 1, algorithm: int = ALGORITHM
) -> tuple[float, float, float]:
    """Return how often some equal variant is CANDIDATE, some REJECT, and some promoted by two valid sessions."""
    key = (round(100 * shape.slower), round(10 * (shape.every or 0)), round(100 * shape.arm_sd))
    rng = np.random.default_rng([SEED, looks[-1], *key])
    found = run_drawn(
        lambda: draw(rng, looks[-1], shape, variants=variants, algorithm=algorithm),
        sessions,
        np.zeros((variants, 2)),
        looks,
        keeps=algorithm > 2,
    )
    slower = (found.speed == Speed.SLOWER) & found.valid[:, None]
    return float(found.candidate.any(axis=1).mean()), float(slower.any(axis=1).mean()), promoted(found, looks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an eighth of the sessions")
    parser.add_argument("--variants", type=int, default=1)
    parser.add_argument("--algorithm", type=int, choices=(2, ALGORITHM), default=ALGORITHM, help="of the plans")
    asked = parser.parse_args()
    sessions = SESSIONS // 8 if asked.quick else SESSIONS
    assert POLICY.sessions == 2
    print("| slowed | plan | wrong CANDIDATE, % | REJECT, % | PROMOTE by two, % |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, shape in SHAPES.items():
        for plan, looks in PLANS.items():
            found = rates(shape, looks, sessions, asked.variants, asked.algorithm)
            cells = " | ".join(f"{100 * rate:.2f}" for rate in found)
            print(f"| {name} | {plan} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
