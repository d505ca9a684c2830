"""Draws up the plan of a session: which arms, and every process in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zmlx_bench.errors import UnusableInput
from zmlx_bench.protocol.looks import looks_of
from zmlx_bench.protocol.order import block_orders, placed_orders
from zmlx_bench.schema.base import Backend, Estimator
from zmlx_bench.schema.plan import Arm, Checkpoint, Conditions, Contrast, Job, JobKind, Plan, Timeouts, Within
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.schema.variant import ResolvedVariant

BASELINE = "baseline"
NULL = "null"
ALGORITHM = 3
"""The number of the way in which sessions are drawn up now."""
ESTIMATOR: Estimator = "bisquare"
"""What a session's ratios are estimated with now; docs/decision-error.md shows why."""
AUDIT_POSITIONS = 64
"""Tokens of each prompt's answer that an audit forces, where the largest budget has as many."""


@dataclass(frozen=True)
class Wanted:
    """What a session's processes are drawn up from."""

    tokens: tuple[int, ...]
    """Budgets, ascending."""
    blocks: int
    seed: int
    prompts: tuple[str, ...]
    """Ids; the first is timed."""
    arms: tuple[Arm, ...]
    audit_positions: int | None


def arms_of(
    variants: Sequence[ResolvedVariant], incumbent: ResolvedVariant | None, *, null_arm: bool
) -> tuple[Arm, ...]:
    """Return the arms: baseline, null arm, the incumbent (once, also when it was asked for by name), variants."""
    arms = [Arm(name=BASELINE, role="baseline")]
    if null_arm:
        arms.append(Arm(name=NULL, role="null"))
    if incumbent is not None:
        arms.append(Arm(name=incumbent.name, role="incumbent", variant=incumbent))
    arms.extend(
        Arm(name=variant.name, role="variant", variant=variant)
        for variant in variants
        if incumbent is None or variant.name != incumbent.name
    )
    return tuple(arms)


def alike(plan: Plan) -> list[tuple[str, ...]]:
    """Return the arms, by their names, that are one and the same under several: of one identity."""
    names: dict[str, list[str]] = {}
    for arm in plan.arms:
        if arm.variant is not None and arm.variant.identity is not None:
            names.setdefault(arm.variant.identity.digest, []).append(arm.name)
    return [tuple(found) for found in names.values() if len(found) > 1]


def draw_up(
    *,
    family: str,
    checkpoint: Checkpoint,
    conditions: Conditions,
    backend: Backend,
    tokens: Sequence[int],
    blocks: int,
    seed: int,
    cooldown_s: float,
    cool_at_most_s: float | None = None,
    timeouts: Timeouts,
    prompts: PromptSet,
    arms: tuple[Arm, ...],
    encoded: Encoded | None = None,
    audit_positions: int | None = None,
    first_look: int | None = None,
    contrast: Contrast | None = None,
    within: Within | None = None,
    estimator: Estimator = ESTIMATOR,
    algorithm: int = ALGORITHM,
) -> Plan:
    """Return the plan whose processes `algorithm` draws up; UnusableInput where this zmlx knows no such algorithm.

    With a `first_look` the session may stop at a look, and `blocks` are its most.
    """
    draw = ALGORITHMS.get(algorithm)
    if draw is None:
        raise UnusableInput(f"plan.algorithm: {algorithm} is newer than this zmlx knows ({ALGORITHM}); update zmlx")
    budgets = tuple(sorted(set(tokens)))
    return Plan(
        algorithm=algorithm,
        family=family,
        checkpoint=checkpoint,
        conditions=conditions,
        backend=backend,
        tokens=budgets,
        blocks=blocks,
        estimator=estimator,
        looks=() if first_look is None else looks_of(first_look, blocks),
        contrast=contrast,
        within=within,
        seed=seed,
        cooldown_s=cooldown_s,
        cool_at_most_s=cool_at_most_s,
        timeouts=timeouts,
        audit_positions=audit_positions,
        prompts=prompts,
        encoded=encoded,
        arms=arms,
        jobs=draw(Wanted(budgets, blocks, seed, tuple(prompt.id for prompt in prompts.prompt), arms, audit_positions)),
    )


def jobs_1(wanted: Wanted) -> tuple[Job, ...]:
    """Return the processes: a discarded warm-up, the timed blocks of every budget, each arm's untimed prompts, audits.

    The fidelity jobs come last and use the largest budget, of which shorter ones are prefixes. The baseline's
    answers the timed prompt too, so that its margins are known where an arm leaves it.
    """
    budgets, arms, (timed, *others) = wanted.tokens, wanted.arms, wanted.prompts
    jobs: list[Job] = []

    def add(
        kind: JobKind, arm: str, budget: int, ids: Sequence[str], block: int | None = None, position: int | None = None
    ) -> None:
        jobs.append(
            Job(id=len(jobs), kind=kind, arm=arm, tokens=budget, prompts=tuple(ids), block=block, position=position)
        )

    add("warmup", BASELINE, budgets[0], [timed])
    names = [arm.name for arm in arms]
    orders = {budget: block_orders(names, wanted.blocks, f"{wanted.seed}/{budget}") for budget in budgets}
    for block in range(1, wanted.blocks + 1):
        for budget in budgets:
            for position, name in enumerate(orders[budget][block - 1], start=1):
                add("timed", name, budget, [timed], block, position)
    for arm in arms:
        ids = [timed, *others] if arm.role == "baseline" else others
        if ids:
            add("fidelity", arm.name, budgets[-1], ids)
    for arm in arms:
        if wanted.audit_positions is not None and arm.variant is not None:
            add("audit", arm.name, wanted.audit_positions, [timed, *others])
    return tuple(jobs)


def jobs_2(wanted: Wanted) -> tuple[Job, ...]:
    """Return the processes of `_shared`, in orders that are reversed in every second block."""
    return _shared(wanted, block_orders)


def jobs_3(wanted: Wanted) -> tuple[Job, ...]:
    """Return the processes of `_shared`, in orders in which each of three arms stands in every place equally often."""
    return _shared(wanted, placed_orders)


def _shared(wanted: Wanted, orders: Callable[[Sequence[str], int, str], list[tuple[str, ...]]]) -> tuple[Job, ...]:
    """Return the processes: the baseline's untimed prompts, the timed blocks, the other arms' untimed prompts, audits.

    A timed process generates the largest budget, and a shorter one is its prefix. The first process warms the machine,
    its file caches and compiled kernels in the place of one that is discarded; it answers the timed prompt too, which
    no other untimed one does: it alone records margins, which nothing timed may.
    """
    arms, (timed, *others) = wanted.arms, wanted.prompts
    *shorter, longest = wanted.tokens
    jobs = [Job(id=0, kind="fidelity", arm=BASELINE, tokens=longest, prompts=(timed, *others))]
    for block, order in enumerate(orders([arm.name for arm in arms], wanted.blocks, f"{wanted.seed}"), start=1):
        jobs += [
            Job(
                id=len(jobs) + place,
                kind="timed",
                arm=name,
                tokens=longest,
                prompts=(timed,),
                block=block,
                position=place + 1,
                prefixes=tuple(shorter),
            )
            for place, name in enumerate(order)
        ]
    for arm in arms:
        if others and arm.name != BASELINE:
            jobs.append(Job(id=len(jobs), kind="fidelity", arm=arm.name, tokens=longest, prompts=tuple(others)))
    for arm in arms:
        # An audit compares logits in one process, and so in one environment.
        if wanted.audit_positions is not None and arm.variant is not None and arm.variant.environment is None:
            jobs.append(
                Job(id=len(jobs), kind="audit", arm=arm.name, tokens=wanted.audit_positions, prompts=wanted.prompts)
            )
    return tuple(jobs)


ALGORITHMS: dict[int, Callable[[Wanted], tuple[Job, ...]]] = {1: jobs_1, 2: jobs_2, 3: jobs_3}
"""Every way in which a session was ever drawn up, by the number that its plan records: a check draws it again."""
