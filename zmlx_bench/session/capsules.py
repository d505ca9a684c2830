"""Builds the capsules of a finished session from its raw runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from zmlx_bench.analysis import figures
from zmlx_bench.schema.audit import Audit
from zmlx_bench.schema.capsule import Capsule, Protocol
from zmlx_bench.schema.plan import Arm, Plan
from zmlx_bench.schema.run import Run, RunSet
from zmlx_bench.schema.sealed import UNSEALED
from zmlx_bench.schema.session import Session


def build(
    session: Session,
    runs: Sequence[Run],
    outputs: Mapping[str, tuple[int, ...]],
    *,
    ended: str,
    audits: Mapping[str, Audit] = MappingProxyType({}),
) -> list[Capsule]:
    """Return one capsule for each variant (the incumbent too) at each budget, in the order of the plan.

    A variant without a single process at a budget (it had failed before) gets no capsule there.
    """
    plan = session.plan
    found: list[Capsule] = []
    for budget in plan.tokens:
        for arm in plan.arms:
            if arm.variant is not None:
                audit = audits.get(arm.name)
                capsule = _capsule(session, arm, budget, runs, outputs, audit, ended=ended)
                if capsule is not None:
                    found.append(capsule)
    return found


def _capsule(
    session: Session,
    arm: Arm,
    budget: int,
    runs: Sequence[Run],
    outputs: Mapping[str, tuple[int, ...]],
    audit: Audit | None,
    *,
    ended: str,
) -> Capsule | None:
    plan = session.plan
    kinds = {job.id: job.kind for job in plan.jobs}
    timed = [run for run in runs if kinds[run.job] == "timed" and run.tokens == budget]
    untimed = [run for run in runs if kinds[run.job] == "fidelity"]
    mine = _of(timed, arm.name)
    if not mine:
        return None
    timed_set = _run_set(plan, arm, timed)
    fidelity_set = _run_set(plan, arm, untimed)
    generations = [g for runset in (timed_set, fidelity_set) for run in runset.every for g in run.generations]
    named = {name for g in generations for name in (g.output, *(each.output for each in g.beside))}
    own_outputs = {digest: outputs[digest] for digest in sorted(named)}
    null_arm = any(a.role == "null" for a in plan.arms)
    prompts = [prompt.id for prompt in plan.prompts.prompt]
    incumbent = next((a.variant for a in plan.arms if a.role == "incumbent"), None)
    capsule = Capsule(
        schema_version=2,
        session=session.session,
        time=ended,
        family=plan.family,
        checkpoint=plan.checkpoint,
        conditions=plan.conditions,
        machine=session.machine,
        software=session.software,
        variant=arm.variant,
        incumbent=incumbent,
        tokens=budget,
        protocol=Protocol(
            command=session.command,
            blocks=session.blocks,
            estimator=plan.estimator,
            seed=plan.seed,
            cooldown_s=plan.cooldown_s,
            cool_at_most_s=plan.cool_at_most_s,
            null_arm=null_arm,
            order=_order(plan, budget, session.blocks),
            environment=session.environment,
            shared_device=session.shared_device,
            trust_remote_code=plan.checkpoint.trust_remote_code,
        ),
        prompts=plan.prompts,
        encoded=plan.encoded,
        timed_prompt=prompts[0],
        chat_template=plan.encoded is not None and plan.encoded.chat_template,
        status=figures.worst_status((*timed_set.variant, *fidelity_set.variant)),
        runs=timed_set,
        fidelity_runs=fidelity_set,
        outputs=own_outputs,
        figures=figures.derive(timed_set, fidelity_set, own_outputs, budget, prompts, null_arm, plan.estimator),
        audit=audit,
        content_sha256=UNSEALED,
    )
    return capsule.sealed()


def _run_set(plan: Plan, arm: Arm, runs: Sequence[Run]) -> RunSet:
    by_role = {a.role: a.name for a in plan.arms if a.role != "variant"}
    fields = {
        "baseline": _of(runs, by_role["baseline"]),
        "null": _of(runs, by_role.get("null")),
        "incumbent": () if arm.role == "incumbent" else _of(runs, by_role.get("incumbent")),
        "variant": _of(runs, arm.name),
    }
    return RunSet.model_validate(fields)


def _of(runs: Sequence[Run], arm: str | None) -> tuple[Run, ...]:
    return tuple(run for run in runs if run.arm == arm)


def _order(plan: Plan, budget: int, until: int) -> tuple[tuple[str, ...], ...]:
    blocks: dict[int, list[str]] = {}
    for job in plan.jobs:
        if job.kind == "timed" and budget in job.budgets and job.block is not None and job.block <= until:
            blocks.setdefault(job.block, []).append(job.arm)
    return tuple(tuple(blocks[block]) for block in sorted(blocks))
