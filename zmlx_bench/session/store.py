"""Where a session lies: its folder, `session.json`, and the event log."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock

from zmlx_bench import files
from zmlx_bench.errors import CannotHere, UnusableInput, unknown
from zmlx_bench.machine import device
from zmlx_bench.schema.base import is_name
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE, Workspace

EVENTS_FILE = "events.jsonl"


def new_name(family: str) -> str:
    """Return a name for a session that starts now: `<UTC>-<family>-<4 hex>`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{family}-{secrets.token_hex(2)}"


def write(workspace: Workspace, session: Session) -> Session:
    """Seal and write `session.json`; return the sealed session. A refused first write leaves no folder behind."""
    whole = session.sealed()
    folder = workspace.session(session.session)
    try:
        files.write_atomic(folder / SESSION_FILE, files.dump_json(whole))
    except CannotHere:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    return whole


def load(workspace: Workspace, name: str) -> Session:
    """Read a session of the workspace; UnusableInput when there is none or it was edited."""
    path = workspace.session(name) / SESSION_FILE
    if not is_name(name) or not path.is_file():
        known = [p.parent.name for p in workspace.capsules.glob(f"*/{SESSION_FILE}")]
        raise unknown("session", name, known)
    files.refuse_outside(workspace.root, path)
    session = files.read_json(path, Session)
    if not session.intact:
        raise UnusableInput(f"{path}: content_sha256: does not match; the file was edited")
    return session


def claim(workspace: Workspace, name: str) -> BaseFileLock:
    """Return the held lock of a session: two at it would measure its jobs twice. Taken names the other."""
    path = _lock_path(workspace, name)
    held = device.acquired(path)
    if held is None:
        raise device.Taken(f"{device.holder_of(path)} is at session {name}; wait until it has ended")
    return held


def holder(workspace: Workspace, name: str) -> str | None:
    """Return who is at a session now, such as `process 123`; None where nobody is."""
    return device.held_by(_lock_path(workspace, name))


def _lock_path(workspace: Workspace, name: str) -> Path:
    folder = os.path.realpath(workspace.session(name))
    return device.folder() / f"session-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.lock"


def clear(workspace: Workspace, name: str) -> None:
    """Remove what a process that was killed while it wrote a file has left; only for who holds the session."""
    for left in workspace.session(name).glob(f".*{files.TEMPORARY_END}"):
        with contextlib.suppress(OSError):
            left.unlink()


def events_path(workspace: Workspace, name: str) -> Path:
    """Return the path of a session's event log."""
    return workspace.session(name) / EVENTS_FILE


def log_path(workspace: Workspace, name: str, job: int) -> Path:
    """Return where the standard output and error of a job go."""
    return workspace.session(name) / "logs" / f"job-{job:04d}.log"
