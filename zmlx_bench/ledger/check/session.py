"""One session's folder: `session.json`, and that its capsules are all there and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.findings.compare import compare_models
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import read, relative
from zmlx_bench.ledger.check.capsule import CheckedCapsule
from zmlx_bench.ledger.check.prefixes import check_prefixes
from zmlx_bench.protocol.plan import ALGORITHMS, draw_up
from zmlx_bench.schema.plan import Plan
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE


@dataclass(frozen=True)
class ReadSession:
    """A session's folder as far as it could be read."""

    folder: Path
    session: Session | None
    """None where `session.json` is absent or cannot be read."""
    findings: tuple[Finding, ...]

    @property
    def capsules(self) -> tuple[Path, ...]:
        """The other JSON files that the folder has now."""
        return _capsules(self.folder)


def _capsules(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.glob("*.json") if path.name != SESSION_FILE))


def read_session(root: Path, folder: Path) -> ReadSession:
    """Read a session's folder and check `session.json` itself."""
    path = folder / SESSION_FILE
    if not path.is_file():
        name = relative(root, folder)
        lost = [finding(f"{name}/{SESSION_FILE}", "file", "is missing")] if _capsules(folder) else []
        return ReadSession(folder, None, tuple(lost))
    session, findings = read(root, path, Session)
    if session is not None:
        findings += _check(session, relative(root, path), folder)
    return ReadSession(folder, session, tuple(findings))


def _check(session: Session, file: str, folder: Path) -> Iterator[Finding]:
    if session.session != folder.name:
        yield finding(file, "session", f"says {session.session}, the folder is {folder.name}")
    if not session.intact:
        yield finding(file, "content_sha256", "the content is not what was hashed: edited after it was written")
    if (session.state == "finished") != (session.ended is not None):
        yield finding(file, "ended", f"says {session.ended}, the state is {session.state}")
    yield from _plan(session.plan, file)


def _plan(plan: Plan, file: str) -> Iterator[Finding]:
    """Compare the plan's processes with those that its seed draws."""
    timed = plan.blocks * len(plan.arms)
    if timed > len(plan.jobs):
        yield finding(file, "plan.jobs", f"{len(plan.jobs)} processes, the blocks alone are {timed}")
        return
    if plan.algorithm not in ALGORITHMS:
        yield finding(file, "plan.algorithm", f"{plan.algorithm} is newer than this zmlx knows; update zmlx")
        return
    expected = draw_up(
        algorithm=plan.algorithm,
        family=plan.family,
        checkpoint=plan.checkpoint,
        conditions=plan.conditions,
        backend=plan.backend,
        tokens=plan.tokens,
        blocks=plan.blocks,
        estimator=plan.estimator,
        seed=plan.seed,
        cooldown_s=plan.cooldown_s,
        cool_at_most_s=plan.cool_at_most_s,
        timeouts=plan.timeouts,
        prompts=plan.prompts,
        encoded=plan.encoded,
        arms=plan.arms,
        audit_positions=plan.audit_positions,
        first_look=plan.looks[0] if plan.looks else None,
        contrast=plan.contrast,
        within=plan.within,
    )
    yield from compare_models(file, "plan", plan, expected, f"seed {plan.seed} draws")


def check_links(root: Path, read: ReadSession, capsules: Sequence[CheckedCapsule]) -> Iterator[Finding]:
    """Compare the session's list of capsules with the files that are there."""
    folder = relative(root, read.folder)
    file = f"{folder}/{SESSION_FILE}"
    present = {capsule.path.rpartition("/")[2]: capsule for capsule in capsules}
    session = read.session
    if session is None:
        for name in present:
            yield finding(f"{folder}/{name}", "file", "orphaned: no readable session.json names it")
        return
    named = [reference.file for reference in session.capsules]
    for index, reference in enumerate(session.capsules):
        capsule = present.get(reference.file)
        field = f"capsules[{index}]"
        if named.index(reference.file) != index:
            yield finding(file, f"{field}.file", f"{reference.file} is listed twice")
        if capsule is None:
            yield finding(f"{folder}/{reference.file}", "file", f"is missing, {file} lists it")
        elif capsule.row is not None and capsule.row.capsule_sha256 != reference.content_sha256:
            message = f"is not the hash of {reference.file}: the capsule was replaced"
            yield finding(file, f"{field}.content_sha256", message)
    # A session that has not finished lists its capsules last.
    for name in present if session.state == "finished" else ():
        if name not in named:
            yield finding(f"{folder}/{name}", "file", f"orphaned: {file} does not list it")
    yield from _planned(session, file, capsules)
    yield from _shared(capsules)
    yield from check_prefixes([(capsule.path, capsule.begun) for capsule in capsules])


def _planned(session: Session, file: str, capsules: Sequence[CheckedCapsule]) -> Iterator[Finding]:
    """Every variant of a finished session has a capsule at every budget, but where it had failed before."""
    rows = [capsule.row for capsule in capsules if capsule.row is not None]
    if session.state != "finished" or len(rows) < len(capsules):
        return
    found = {(row.variant, row.tokens) for row in rows}
    failed = {row.variant for row in rows if row.status != "ok"}
    for arm in session.plan.arms:
        for tokens in session.plan.tokens if arm.variant is not None and arm.name not in failed else ():
            if (arm.name, tokens) not in found:
                yield finding(file, "plan.arms", f"{arm.name} was planned at {tokens} tokens and has no capsule")


def _shared(capsules: Sequence[CheckedCapsule]) -> Iterator[Finding]:
    """The same process is recorded alike in every capsule that holds it."""
    first: dict[tuple[int, int], tuple[str, str]] = {}
    for capsule in capsules:
        for job, tokens, digest in capsule.runs:
            other, known = first.setdefault((job, tokens), (capsule.path, digest))
            if digest != known:
                message = f"the run of job {job} is not the one that {other.rpartition('/')[2]} holds"
                yield finding(capsule.path, "runs", message)
