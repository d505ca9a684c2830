"""Whether the capsules of shorter budgets hold the first tokens of the processes that those of longer ones hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.ledger.check import places
from zmlx_bench.protocol.prefix import Plain, facts
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.session import Session


@dataclass(frozen=True)
class Begun:
    """What a capsule says of the first tokens of a timed process."""

    place: str
    """Of the run in its capsule."""
    job: int
    tokens: int
    """How many first tokens this is about: a shorter budget of the plan."""
    whole: bool
    """Whether the capsule holds more of the process than them."""
    facts: dict[str, Plain]
    """By field: alike in the prefix and in the whole."""
    peaks: dict[str, float | None]
    """Fields that only grow while the process goes on."""


def begun(capsule: Capsule, session: Session | None) -> tuple[Begun, ...]:
    """Return what a capsule says of the prefixes of its processes; nothing where the plan has none."""
    prefixes = {job.id: job.prefixes for job in session.plan.jobs} if session is not None else {}
    return tuple(
        Begun(
            place=place,
            job=run.job,
            tokens=tokens,
            whole=run.tokens > tokens,
            facts=facts(run, capsule.outputs, tokens),
            peaks={
                "generations[0].peak_mem_gb": run.generations[0].peak_mem_gb if run.generations else None,
                "peak_rss_gb": run.peak_rss_gb,
                "peak_footprint_gb": run.peak_footprint_gb,
                "page_faults_minor": run.page_faults_minor,
                "page_faults_major": run.page_faults_major,
                "energy_j": run.energy_j,
            },
        )
        for place, run, *_ in places.timed(capsule)
        for tokens in prefixes.get(run.job, ())
        if run.tokens >= tokens
    )


def check_prefixes(capsules: Sequence[tuple[str, Sequence[Begun]]]) -> Iterator[Finding]:
    """Compare the prefixes with their wholes, over the capsules of a session, each with its path."""
    wholes: dict[tuple[int, int], tuple[str, Begun]] = {}
    for path, found in capsules:
        for each in found:
            if each.whole:
                wholes.setdefault((each.job, each.tokens), (path, each))
    for path, found in capsules:
        for each in found:
            if not each.whole and (each.job, each.tokens) in wholes:
                other, whole = wholes[each.job, each.tokens]
                yield from _compare(path, each, other.rpartition("/")[2], whole)


def _compare(path: str, prefix: Begun, other: str, whole: Begun) -> Iterator[Finding]:
    of = f"the first {prefix.tokens} tokens of {whole.place} in {other}, which job {prefix.job} generated too"
    for field in sorted({*prefix.facts, *whole.facts}):
        if prefix.facts.get(field) != whole.facts.get(field):
            yield finding(path, f"{prefix.place}.{field}", f"is not what goes with {of}")
    for field, value in prefix.peaks.items():
        peak = whole.peaks[field]
        if value is not None and peak is not None and value > peak:
            yield finding(path, f"{prefix.place}.{field}", f"says {value:g}, more than the {peak:g} of the whole: {of}")
