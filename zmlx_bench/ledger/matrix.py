"""Rows: `rows.jsonl` in each session's folder, and `matrix.jsonl`, which is written from them, sorted by session.

A session's file is written once and by one process, so that the sessions of two branches merge as a union of folders;
the matrix can be made again at any time. In workspaces of before there were such files the rows stand in the matrix
only; whoever writes it moves them to their sessions, byte for byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from zmlx_bench import files, locks
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import conflict
from zmlx_bench.schema.base import is_name
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.workspace import Workspace

ROWS_FILE = "rows.jsonl"
READER_PATIENCE_S = 2.0
"""A write takes less; a last line that stays cut off is shown as such."""


def record(workspace: Workspace, session: str, rows: Sequence[MatrixRow]) -> None:
    """Write a session's rows to its folder, and the matrix. CannotHere when the disk refuses."""
    data = b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
    files.write_atomic(rows_path(workspace, session), data)
    write(workspace)


def rows_path(workspace: Workspace, session: str) -> Path:
    """Return where a session's rows lie."""
    return workspace.session(session) / ROWS_FILE


def write(workspace: Workspace, *, dropped: str | None = None) -> bool:
    """Make the matrix from the rows of all sessions; return whether it changed.

    Under a lock, so that of several processes none loses another's rows. Rows whose session has gone are kept, for a
    check names them, but for those of an unfinished session that was `dropped`.
    """
    path = workspace.matrix
    with locks.locked(path):
        before = files.read_bytes(path, files.LARGEST_LINES) if path.exists() else None
        files_of_rows = [p for p in workspace.capsules.glob(f"*/{ROWS_FILE}") if is_name(p.parent.name)]
        found = {rows.parent.name: _whole(rows) for rows in files_of_rows}
        for session, data in _by_session(before or b"").items():
            if session not in found and session != dropped:
                found[session] = data
                if workspace.session(session).is_dir():
                    files.write_atomic(rows_path(workspace, session), data)
        made = b"".join(found[session] for session in sorted(found))
        if made == (before or b""):
            return False
        files.write_atomic(path, made)
    return True


def _whole(path: Path) -> bytes:
    files.refuse_outside(path.parent.parent, path)
    data = files.read_bytes(path, files.LARGEST_LINES)
    return data if not data or data.endswith(b"\n") else data + b"\n"


def _by_session(data: bytes) -> dict[str, bytes]:
    """Return a matrix's rows by session; what is no row, such as a torn line or a mark of Git's, is left out."""
    merged = conflict.conflicted(data.decode("utf-8", "replace"))
    found: dict[str, list[bytes]] = {}
    for line in _lines(data):
        session = _session_of(line)
        # Both sides of a conflict may hold a row; elsewhere a second one is a fault, which a check names.
        if session is not None and not (merged and line in found.get(session, ())):
            found.setdefault(session, []).append(line)
    return {session: b"".join(line + b"\n" for line in lines) for session, lines in found.items()}


def _session_of(line: bytes) -> str | None:
    try:
        row = files.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    session = row.get("session") if isinstance(row, dict) else None
    return session if isinstance(session, str) and is_name(session) else None


def read(path: Path) -> list[MatrixRow]:
    """Return all rows in their order; UnusableInput names the line and field of a bad one."""
    if not path.exists():
        return []
    return [_row(path, number, line) for number, line in enumerate(_lines(read_bytes(path)), start=1)]


def read_all(workspace: Workspace) -> list[MatrixRow]:
    """Return the matrix's rows, then those of sessions that it lacks, as where a merge took one side of it."""
    rows = read(workspace.matrix)
    listed = {row.session for row in rows}
    names = sorted(path.parent.name for path in workspace.capsules.glob(f"*/{ROWS_FILE}") if is_name(path.parent.name))
    for name in names:
        if name not in listed:
            path = rows_path(workspace, name)
            files.refuse_outside(workspace.capsules, path)
            rows += read(path)
    return rows


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes; where they end in part of a row, once the process that may be at it has written it."""
    data = files.read_bytes(path, files.LARGEST_LINES)
    if not data or data.endswith(b"\n"):
        return data
    with contextlib.suppress(OSError, Timeout), FileLock(f"{path}.lock", timeout=READER_PATIENCE_S):
        data = files.read_bytes(path, files.LARGEST_LINES)
    return data


def _lines(data: bytes) -> list[bytes]:
    """Split as `zmlx check` does: a carriage return is white space of JSON, not the end of a row."""
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _row(path: Path, number: int, line: bytes) -> MatrixRow:
    try:
        return files.decoded(MatrixRow, line.decode(), files.loads)
    except ValueError as error:
        if conflict.is_mark(line.decode("utf-8", "replace")):
            raise UnusableInput(f"{path}: line {number}: {conflict.MESSAGE}") from None
        raise UnusableInput(f"{path}: line {number}: {error}; {conflict.REMEDY}") from None
