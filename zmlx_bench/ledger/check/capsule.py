"""One capsule: its name, its hash, its raw records, and every figure recomputed from them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.analysis.figures import derive, worst_status
from zmlx_bench.findings.compare import compare_models
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import read, relative
from zmlx_bench.ledger.check import places
from zmlx_bench.ledger.check.audit import check_audit
from zmlx_bench.ledger.check.conditions import check_conditions
from zmlx_bench.ledger.check.prefixes import Begun, begun
from zmlx_bench.ledger.check.raw import check_blocks, check_outputs, check_prompts, check_runs
from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import MatrixRow, capsule_file_name, row_of
from zmlx_bench.schema.session import Session


@dataclass(frozen=True)
class CheckedCapsule:
    """What is left of a capsule once it is checked: enough to check its session and its matrix row."""

    path: str
    """In the workspace."""
    findings: tuple[Finding, ...]
    row: MatrixRow | None
    """The row that the matrix must have for it; None when the capsule cannot be read."""
    runs: tuple[tuple[int, int, str], ...] = ()
    """Job, budget and content hash of every run: capsules of one session share the runs of the stock model."""
    begun: tuple[Begun, ...] = ()
    """What it says of the first tokens of processes that serve several budgets."""


def check_capsule_file(root: Path, path: Path, session: Session | None) -> CheckedCapsule:
    """Read and check one capsule, against its session where there is one."""
    name = relative(root, path)
    capsule, findings = read(root, path, Capsule)
    if capsule is None:
        return CheckedCapsule(name, tuple(findings), None)
    findings += check_capsule(capsule, name, session)
    return CheckedCapsule(name, tuple(findings), row_of(capsule), _run_hashes(capsule), begun(capsule, session))


def _run_hashes(capsule: Capsule) -> tuple[tuple[int, int, str], ...]:
    runs = (*capsule.runs.every, *capsule.fidelity_runs.every)
    return tuple((run.job, run.tokens, content_hash(run.model_dump(mode="json"))) for run in runs)


def check_capsule(capsule: Capsule, file: str, session: Session | None = None) -> list[Finding]:
    """Return every fault of a capsule."""
    findings = [*_identity(capsule, file)]
    for check in (check_outputs, check_prompts, check_runs, check_blocks, check_conditions):
        findings += check(capsule, file)
    findings += _figures(capsule, file)
    findings += check_audit(capsule, file, session)
    if session is not None:
        findings += _session(capsule, file, session)
    return findings


def _identity(capsule: Capsule, file: str) -> Iterator[Finding]:
    folder, _, name = file.rpartition("/")
    if name != capsule_file_name(capsule):
        yield finding(file, "file", f"its content belongs to {capsule_file_name(capsule)}")
    if folder and folder.rpartition("/")[2] != capsule.session:
        yield finding(file, "session", f"says {capsule.session}, the folder is {folder.rpartition('/')[2]}")
    environment = capsule.variant.environment
    if environment is not None and environment.digest != environment.digest_of():
        yield finding(file, "variant.environment.digest", "is not of the environment that is recorded")
    if not capsule.intact:
        yield finding(file, "content_sha256", "the content is not what was hashed: edited after it was written")


def _figures(capsule: Capsule, file: str) -> Iterator[Finding]:
    worst = worst_status(capsule.own_runs)
    if capsule.status != worst:
        yield finding(file, "status", f"says {capsule.status}, the worst of its processes is {worst}")
    try:
        expected = derive(
            capsule.runs,
            capsule.fidelity_runs,
            capsule.outputs,
            capsule.tokens,
            [prompt.id for prompt in capsule.prompts.prompt],
            capsule.protocol.null_arm,
            capsule.protocol.estimator,
        )
    except (ArithmeticError, LookupError, ValueError, statistics.StatisticsError) as error:
        yield finding(file, "figures", f"cannot be derived from the raw runs: {type(error).__name__}: {error}")
        return
    yield from compare_models(file, "figures", capsule.figures, expected, "the raw runs give")


def _session(capsule: Capsule, file: str, session: Session) -> Iterator[Finding]:
    plan = session.plan
    facts = (
        ("family", capsule.family, plan.family),
        ("checkpoint", capsule.checkpoint, plan.checkpoint),
        ("conditions", capsule.conditions, plan.conditions),
        ("machine", capsule.machine, session.machine),
        ("software", capsule.software, session.software),
        ("prompts", capsule.prompts, plan.prompts),
        ("encoded", capsule.encoded, plan.encoded),
        ("protocol.blocks", capsule.protocol.blocks, session.blocks),
        ("protocol.estimator", capsule.protocol.estimator, plan.estimator),
        ("protocol.seed", capsule.protocol.seed, plan.seed),
        ("protocol.cooldown_s", capsule.protocol.cooldown_s, plan.cooldown_s),
        ("protocol.cool_at_most_s", capsule.protocol.cool_at_most_s, plan.cool_at_most_s),
        ("protocol.command", capsule.protocol.command, session.command),
        ("protocol.environment", capsule.protocol.environment, session.environment),
        ("protocol.shared_device", capsule.protocol.shared_device, session.shared_device),
        ("protocol.trust_remote_code", capsule.protocol.trust_remote_code, plan.checkpoint.trust_remote_code),
    )
    for field, mine, theirs in facts:
        if mine != theirs:
            yield finding(file, field, "is not what session.json says")
    if capsule.tokens not in plan.tokens:
        yield finding(file, "tokens", f"{capsule.tokens} is no budget of the session's plan")
    if all(arm.variant != capsule.variant for arm in plan.arms):
        yield finding(file, "variant", f"{capsule.variant.name} as resolved here is no arm of the session's plan")
    if session.ended is not None and capsule.time != session.ended:
        yield finding(file, "time", f"says {capsule.time}, the session ended {session.ended}")
    order = _planned_order(session, capsule.tokens)
    if capsule.protocol.order != order:
        yield finding(file, "protocol.order", "is not the order of the session's plan")
    yield from _jobs(capsule, file, session)


def _planned_order(session: Session, tokens: int) -> tuple[tuple[str, ...], ...]:
    blocks: dict[int, list[tuple[int, str]]] = {}
    for job in session.plan.jobs:
        if job.kind == "timed" and tokens in job.budgets and (job.block or 0) <= session.blocks:
            blocks.setdefault(job.block or 0, []).append((job.position or 0, job.arm))
    return tuple(tuple(arm for _, arm in sorted(blocks[block])) for block in sorted(blocks))


def _jobs(capsule: Capsule, file: str, session: Session) -> Iterator[Finding]:
    """Every run is the job of the plan that it says it is."""
    jobs = {job.id: job for job in session.plan.jobs}
    for place, run, _, timed in places.every(capsule):
        job = jobs.get(run.job)
        if job is None:
            yield finding(file, f"{place}.job", f"{run.job} is no job of the session's plan")
            continue
        planned = job.kind, job.arm, job.tokens, job.block, job.position
        kind = "timed" if timed else "fidelity"
        ran = kind, run.arm, run.of_tokens or run.tokens, run.block, run.position
        if planned != ran or run.tokens not in job.budgets:
            yield finding(file, f"{place}.job", f"job {run.job} of the plan is another arm, budget, block or place")
