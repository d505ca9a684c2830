"""A capsule's audit: it belongs to the baseline's answers, and its figures follow from its traces."""

from __future__ import annotations

from collections.abc import Iterator

from zmlx_bench.analysis.audit import derive
from zmlx_bench.analysis.near import nearness
from zmlx_bench.findings.compare import compare_models
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.schema.audit import Audit
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.session import Session


def check_audit(capsule: Capsule, file: str, session: Session | None) -> Iterator[Finding]:
    """Return every fault of the audit; without an audit there is none."""
    audit = capsule.audit
    if audit is None:
        return
    yield from _answers(capsule, audit, file)
    if audit.figures is not None:
        yield from compare_models(file, "audit.figures", audit.figures, derive(audit.prompts), "the traces give")
    yield from _nearness(capsule, audit, file)
    if session is not None:
        yield from _planned(capsule, audit, file, session)


def _answers(capsule: Capsule, audit: Audit, file: str) -> Iterator[Finding]:
    answers = {
        generation.prompt: generation
        for run in capsule.fidelity_runs.baseline
        if run.status == "ok"
        for generation in run.generations
    }
    seen: set[str] = set()
    for index, prompt in enumerate(audit.prompts):
        field = f"audit.prompts[{index}]"
        answer = answers.get(prompt.prompt)
        if prompt.prompt in seen:
            yield finding(file, f"{field}.prompt", f"{prompt.prompt} stands twice")
        seen.add(prompt.prompt)
        if answer is None or answer.output != prompt.output:
            yield finding(file, f"{field}.output", f"is not the baseline's answer to {prompt.prompt}")
        elif len(prompt.baseline.kl) > answer.tokens:
            yield finding(file, field, f"{len(prompt.baseline.kl)} positions, the answer has {answer.tokens} tokens")


def _nearness(capsule: Capsule, audit: Audit, file: str) -> Iterator[Finding]:
    wanted = capsule.variant.fidelity == "near" and audit.figures is not None
    if wanted != (audit.near is not None):
        message = "belongs to the audit of a variant that is declared to be near, and to no other"
        yield finding(file, "audit.near", message)
    elif audit.near is not None and all(prompt.output in capsule.outputs for prompt in audit.prompts):
        expected = nearness(audit.prompts, capsule.outputs)
        yield from compare_models(file, "audit.near", audit.near, expected, "the traces give")


def _planned(capsule: Capsule, audit: Audit, file: str, session: Session) -> Iterator[Finding]:
    plan = session.plan
    job = next((job for job in plan.jobs if job.kind == "audit" and job.arm == capsule.variant.name), None)
    if job is None:
        yield finding(file, "audit", "the session's plan has no audit of this variant")
        return
    if audit.status == "ok" and tuple(prompt.prompt for prompt in audit.prompts) != job.prompts:
        yield finding(file, "audit.prompts", "are not those of the session's plan")
    for index, prompt in enumerate(audit.prompts):
        if len(prompt.baseline.kl) != job.tokens:
            message = f"{len(prompt.baseline.kl)} positions, planned were {job.tokens}"
            yield finding(file, f"audit.prompts[{index}]", message)
