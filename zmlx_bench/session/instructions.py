"""What the process of a job is told, and what its conditions make it report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.environments.kept import Made
from zmlx_bench.measured.conditions.asked import Asked
from zmlx_bench.measured.messages import Conditions, Instructions, Prompt
from zmlx_bench.process import told_path
from zmlx_bench.protocol.batch import members
from zmlx_bench.protocol.context import context_ids
from zmlx_bench.schema.plan import Arm, Job, Plan
from zmlx_bench.schema.plan import Conditions as AskedConditions
from zmlx_bench.schema.prompts import Encoded
from zmlx_bench.session.tally import DEFAULT, Expected
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Ground:
    """What the jobs of a session need beside its plan."""

    workspace: Workspace
    checkpoint_path: Path
    catalog: Catalog
    """The variants and kernels of the session's family."""
    made: Mapping[str, Made] = field(default_factory=dict)
    """The environments of arms that have one of their own, by what they are asked for by."""


def told(plan: Plan, job: Job, arm: Arm, forced: dict[str, tuple[int, ...]], ground: Ground) -> Instructions:
    """Return what an arm's process is told for a job; `forced` are the tokens that an audit forces, by prompt."""
    return Instructions(
        family_folder=told_path(families.folder(plan.family, ground.workspace)),
        checkpoint_kind=plan.checkpoint.kind,
        path=told_path(ground.checkpoint_path),
        seed=plan.seed,
        layers=plan.checkpoint.layers,
        trust_remote_code=plan.checkpoint.trust_remote_code,
        backend=plan.backend,
        variant=ground.catalog.plain(arm.variant) if arm.variant is not None and arm.variant.kernels else None,
        elsewhere=arm.variant is not None and arm.variant.environment is not None,
        kernels=told_path(ground.workspace.kernels),
        tokens=job.tokens,
        prefixes=job.prefixes,
        prompts=tuple(Prompt(name, plan.token_ids(name)) for name in prefilled(plan, job)),
        margins=job.kind == "fidelity" and arm.role == "baseline",
        forced=forced,
        conditions=conditions_of(plan.conditions, plan.encoded, _prompts(plan), job.prompts),
    )


def prefilled(plan: Plan, job: Job) -> tuple[str, ...]:
    """Return the prompts that a job's process prefills: its own, and those decoded beside them."""
    batches = _batches(plan.conditions, _prompts(plan), job.prompts)
    return tuple(dict.fromkeys(name for batch in batches for name in batch))


def expected(plan: Plan, job: Job) -> Expected:
    """Return what the conditions make a job's process report."""
    asked = plan.conditions
    if asked.default or job.kind == "audit":
        return DEFAULT
    return Expected(Asked(asked.batch, asked.kv_bits, asked.max_kv_size), _context(asked, plan.encoded), told=True)


def conditions_of(
    asked: AskedConditions, encoded: Encoded | None, prompts: Sequence[str], leaders: Sequence[str]
) -> Conditions | None:
    """Return how a process runs the model, in which each of `leaders` leads a batch of the session's `prompts`; None
    for the default conditions."""
    if asked.default:
        return None
    return Conditions(
        context=_context(asked, encoded),
        batches=_batches(asked, prompts, leaders),
        kv_bits=asked.kv_bits,
        max_kv_size=asked.max_kv_size,
    )


def _prompts(plan: Plan) -> list[str]:
    return [prompt.id for prompt in plan.prompts.prompt]


def _batches(asked: AskedConditions, prompts: Sequence[str], leaders: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(members(prompts, name, asked.batch) for name in leaders)


def _context(asked: AskedConditions, encoded: Encoded | None) -> tuple[int, ...]:
    return () if asked.context is None or encoded is None else context_ids(encoded.context_pieces, asked.context)
