"""What the event log of a session whose jobs have ended says, read as few times as can be: a long one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.schema.audit import Audit
from zmlx_bench.schema.run import Run
from zmlx_bench.schema.session import Session
from zmlx_bench.session.audit import audits_of
from zmlx_bench.session.clock import Reading, set_by
from zmlx_bench.session.log import JobLog, finished
from zmlx_bench.session.records import Outputs, runs_of


@dataclass(frozen=True)
class Recorded:
    """The records of all jobs."""

    runs: Sequence[Run]
    outputs: Outputs
    audits: Mapping[str, Audit]
    ended: str
    """When the last job did."""
    clock_set_s: float | None
    """By how many seconds the time of day was set meanwhile; None where it was not told."""


def recorded(session: Session, events: Path) -> Recorded:
    """Return what the log `events` of a session holds; ValueError where no job has ended."""
    plan = session.plan
    times: list[str] = []
    readings = [Reading(0, session.started, session.since_boot_s)]

    def noted() -> Iterator[tuple[int, JobLog]]:
        for number, log in finished(events):
            if log.end is not None:
                times.append(log.end.time)
                readings.extend(Reading(log.start.resumed, at.time, at.since_boot_s) for at in (log.start, log.end))
            yield number, log

    runs, outputs = runs_of(plan, noted())
    audits: Mapping[str, Audit] = {}
    if any(job.kind == "audit" for job in plan.jobs):
        audited = {job.id for job in plan.jobs if job.kind in ("fidelity", "audit")}
        audits = audits_of(plan, {number: log for number, log in finished(events) if number in audited})
    return Recorded(runs, outputs, audits, max(times), set_by(readings))
