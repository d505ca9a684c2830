"""All checks over a workspace, capsules in parallel."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from zmlx_bench import copies
from zmlx_bench.catalog import verified
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.findings import reading
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative, unreadable
from zmlx_bench.ledger.check import weights
from zmlx_bench.ledger.check.capsule import CheckedCapsule, check_capsule_file
from zmlx_bench.ledger.check.decisions import check_decisions
from zmlx_bench.ledger.check.looks import check_stops
from zmlx_bench.ledger.check.matrix import Numbered, check_rows, read_rows
from zmlx_bench.ledger.check.session import ReadSession, check_links, read_session
from zmlx_bench.ledger.conflict import REMEDY
from zmlx_bench.ledger.matrix import rows_path
from zmlx_bench.legacy.check import check_legacy_file
from zmlx_bench.legacy.store import FOLDER as LEGACY
from zmlx_bench.schema.session import Session
from zmlx_bench.schema.verification import Verification
from zmlx_bench.workspace import Workspace

BATCH = 8
"""Capsules that a process takes at a time."""

PARALLEL_FROM = 150
"""Capsules, of which each takes 15 ms; below this, starting processes takes longer than the work: a second each."""


@dataclass(frozen=True)
class Checked:
    """The outcome of a check."""

    findings: tuple[Finding, ...]
    capsules: int
    sessions: int
    rows: int
    notes: tuple[str, ...] = ()
    """What of the evidence does not count for today's code, and which copies are stale, in words: no faults."""


def check_workspace(workspace: Workspace, processes: int | None = None, *, rehash: bool = False) -> Checked:
    """Check everything in a workspace; `processes` is the most to use (default: one a CPU).

    With `rehash` the weights that are here are hashed again and held against the evidence.

    Sessions may be measured meanwhile: they write capsules, then their rows, then the matrix, then `session.json`, and
    all is read in the opposite order, so that whatever is read has been written before what it names.
    """
    sessions = [read_session(workspace.root, folder) for folder in _session_folders(workspace)]
    rows, unread = read_rows(workspace.root, workspace.matrix)
    begun_since = {folder.name for folder in _session_folders(workspace)} - {read.folder.name for read in sessions}
    rows = [(number, row) for number, row in rows if row.session not in begun_since]
    checked = _check_sessions(workspace, sessions, rows, processes or os.cpu_count() or 1)
    findings = [*checked.findings, *unread, *_strays(workspace)]
    for path in sorted((workspace.capsules / LEGACY).glob("*.json")):
        findings += check_legacy_file(workspace.root, path)
    findings += check_stops(workspace, sessions, findings)
    for path in verified.paths(workspace):
        findings += reading.read(workspace.root, path, Verification)[1]
    decided, notes = check_decisions(workspace, findings)
    stale, unreadable_record = _copies(workspace)
    weighed = weights.rehash(workspace, sessions) if rehash else weights.Rehashed()
    everything = {*findings, *decided, *unreadable_record, *weighed.findings}
    said = (weighed.note,) if rehash else ()
    return replace(checked, findings=tuple(sorted(everything)), notes=(*notes, *stale, *said))


def _copies(workspace: Workspace) -> tuple[list[str], list[Finding]]:
    """Return a note on stale copies of the packaged kernels and variants, or the finding why that is not known."""
    path = workspace.root / copies.RECORD
    try:
        names = copies.stale(workspace)
    except UnusableInput as error:
        return [], [unreadable(relative(workspace.root, path), path, error)]
    if not names:
        return [], []
    return [f"older copies than those of this zmlx: {', '.join(names)}; `zmlx init --update .` renews them"], []


def check_session(workspace: Workspace, folder: Path, *, rehash: bool = False) -> Checked:
    """Check one session: its folder and its rows of the matrix, and with `rehash` its weights."""
    read = read_session(workspace.root, folder)
    rows, _ = read_rows(workspace.root, workspace.matrix)
    own = [(number, row) for number, row in rows if row.session == folder.name]
    checked = _check_sessions(workspace, [read], own, 1)
    if not rehash:
        return checked
    weighed = weights.rehash(workspace, [read])
    findings = tuple(sorted({*checked.findings, *weighed.findings}))
    return replace(checked, findings=findings, notes=(*checked.notes, weighed.note))


def _check_sessions(
    workspace: Workspace, sessions: Sequence[ReadSession], rows: Sequence[Numbered], processes: int
) -> Checked:
    root = workspace.root
    findings = [f for session in sessions for f in session.findings]
    own = {read.folder: rows_path(workspace, read.folder.name) for read in sessions}
    rows_of = {folder: read_rows(root, path) for folder, path in own.items() if path.exists()}
    checked = _check_capsules(root, sessions, processes)
    findings += [f for capsule in checked for f in capsule.findings]
    by_folder: dict[str, list[CheckedCapsule]] = {}
    for capsule in checked:
        by_folder.setdefault(capsule.path.rpartition("/")[0], []).append(capsule)
    expected = {capsule.path: capsule.row for capsule in checked if capsule.row is not None}
    recorded = {read.folder: _recorded(root, read) for read in sessions}
    for read in sessions:
        capsules = by_folder.get(relative(root, read.folder), [])
        findings += check_links(root, read, capsules)
        if read.folder in rows_of:
            found, unread = rows_of[read.folder]
            mine = {capsule.path: capsule.row for capsule in capsules if capsule.row is not None}
            findings += [*unread, *check_rows(relative(root, own[read.folder]), found, mine, recorded[read.folder])]
    every = [path for paths in recorded.values() for path in paths]
    findings += check_rows(relative(root, workspace.matrix), rows, expected, every, f"; {REMEDY}")
    return Checked(tuple(sorted(set(findings))), len(checked), len(sessions), len(rows))


def _session_folders(workspace: Workspace) -> list[Path]:
    if not workspace.capsules.is_dir():
        return []
    return sorted(p for p in workspace.capsules.iterdir() if p.is_dir() and p.name != LEGACY)


def _strays(workspace: Workspace) -> Iterator[Finding]:
    if workspace.capsules.is_dir():
        for path in sorted(workspace.capsules.glob("*.json")):
            yield finding(relative(workspace.root, path), "file", "orphaned: lies outside any session")


def _recorded(root: Path, read: ReadSession) -> list[str]:
    """Return the capsules that a finished session lists: each must have its row."""
    if read.session is None or read.session.state != "finished":
        return []
    folder = relative(root, read.folder)
    return [f"{folder}/{reference.file}" for reference in read.session.capsules]


Batch = tuple[Session | None, tuple[Path, ...]]


def _check_batch(root: Path, batch: Batch) -> list[CheckedCapsule]:
    session, paths = batch
    return [check_capsule_file(root, path, session) for path in paths]


def _check_capsules(root: Path, sessions: Sequence[ReadSession], processes: int) -> list[CheckedCapsule]:
    batches: list[Batch] = [
        (read.session, read.capsules[start : start + BATCH])
        for read in sessions
        for start in range(0, len(read.capsules), BATCH)
    ]
    count = sum(len(paths) for _, paths in batches)
    if processes < 2 or count < PARALLEL_FROM:
        return [capsule for batch in batches for capsule in _check_batch(root, batch)]
    return _in_parallel(root, batches, processes)


def _in_parallel(root: Path, batches: Sequence[Batch], processes: int) -> list[CheckedCapsule]:
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_ignore_interrupt)
    try:
        futures = [pool.submit(_check_batch, root, batch) for batch in batches]
        return [capsule for future in futures for capsule in future.result()]
    except BrokenProcessPool:
        raise CannotHere("a process of the check was killed, perhaps for want of memory; run it again") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which then cancels what is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
