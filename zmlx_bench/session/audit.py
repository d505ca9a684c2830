"""The audit in a session: the baseline's tokens that its processes are told to force, and their records."""

from __future__ import annotations

from collections.abc import Mapping

from zmlx_bench.analysis.audit import derive
from zmlx_bench.analysis.near import nearness
from zmlx_bench.schema.audit import Audit, PromptAudit
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.schema.event import Audited, PromptStart, Token
from zmlx_bench.schema.plan import Plan
from zmlx_bench.session.log import JobLog
from zmlx_bench.session.records import prefilled


def answers(plan: Plan, logs: Mapping[int, JobLog]) -> dict[str, tuple[int, ...]]:
    """Return the baseline's tokens of every prompt at the largest budget; empty where its process failed."""
    baseline = next(arm.name for arm in plan.arms if arm.role == "baseline")
    found: dict[str, list[int]] = {}
    for job in plan.jobs:
        log = logs.get(job.id)
        if (job.kind, job.arm) != ("fidelity", baseline) or log is None or log.end is None or log.end.status != "ok":
            continue
        tokens: list[int] = []
        for line in log.events:
            if isinstance(line.event, PromptStart):
                tokens = found.setdefault(line.event.prompt, [])
            elif isinstance(line.event, Token):
                tokens.append(line.event.id)
    return {prompt: tuple(tokens) for prompt, tokens in found.items()}


def audits_of(plan: Plan, logs: Mapping[int, JobLog]) -> dict[str, Audit]:
    """Return the audit of each arm whose process ran."""
    given = answers(plan, logs)
    hashes = {prompt: output_hash(tokens) for prompt, tokens in given.items()}
    outputs = {hashes[prompt]: tokens for prompt, tokens in given.items()}
    found: dict[str, Audit] = {}
    for job in plan.jobs:
        log = logs.get(job.id)
        if job.kind != "audit" or log is None or log.end is None:
            continue
        if log.end.status != "ok":
            found[job.arm] = Audit(status=log.end.status, message=log.end.message)
            continue
        told = prefilled(log)
        prompts = tuple(
            PromptAudit(
                prompt=line.event.prompt,
                prompt_sha256=told.get(line.event.prompt),
                output=hashes[line.event.prompt],
                baseline=line.event.baseline,
                variant=line.event.variant,
            )
            for line in log.events
            if isinstance(line.event, Audited)
        )
        variant = plan.arm(job.arm).variant
        near = variant is not None and variant.fidelity == "near"
        found[job.arm] = Audit(
            status="ok",
            prompts=prompts,
            figures=derive(prompts),
            near=nearness(prompts, outputs) if near else None,
        )
    return found
