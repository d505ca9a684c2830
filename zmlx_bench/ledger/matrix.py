"""`matrix.jsonl`: one row a capsule, appended under a lock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from zmlx_bench import files, locks
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.matrix import MatrixRow

READER_PATIENCE_S = 2.0
"""A write takes less; a last line that stays cut off is shown as such."""


def append(path: Path, rows: Sequence[MatrixRow]) -> int:
    """Append the rows whose capsules the matrix does not have yet; return how many were added.

    The rows go in with one write under a lock, so that another process never sees half a row; a torn last
    line (the machine went down) is cut off first.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locks.locked(path):
            present = _mended(path)
            known = _known(path, present, rows)
            new = [row for row in rows if row.capsule not in known]
            if not new:
                return 0
            data = b"".join(row.model_dump_json().encode() + b"\n" for row in new)
            with path.open("ab", buffering=0) as file:
                start = file.tell()
                try:
                    written = file.write(data)
                    if written != len(data):
                        raise OSError(28, "No space left on device")
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(path, start)
                    raise
            return len(new)
    except OSError as error:
        raise files.cannot_write(path, error) from None


def _mended(path: Path) -> bytes:
    """Return the matrix after ending its last line where only the newline is missing, or cutting it off if no row."""
    data = files.read_bytes(path, files.LARGEST_LINES) if path.exists() else b""
    last = data.rpartition(b"\n")[2]
    if not last:
        return data
    try:
        files.decoded(MatrixRow, last.decode(), files.loads)
    except ValueError:
        os.truncate(path, len(data) - len(last))
        return data[: len(data) - len(last)]
    with path.open("ab") as file:
        file.write(b"\n")
    return data + b"\n"


def _known(path: Path, data: bytes, rows: Sequence[MatrixRow]) -> set[str]:
    """Return which of the rows' capsules the matrix has; only lines that name one are read, for it may be long."""
    names = [row.capsule.encode() for row in rows]
    if not any(name in data for name in names):
        return set()
    lines = enumerate(_lines(data), start=1)
    return {_row(path, n, line).capsule for n, line in lines if any(name in line for name in names)}


def read(path: Path) -> list[MatrixRow]:
    """Return all rows in their order; UnusableInput names the line and field of a bad one."""
    if not path.exists():
        return []
    return [_row(path, number, line) for number, line in enumerate(_lines(read_bytes(path)), start=1)]


def read_bytes(path: Path) -> bytes:
    """Return the matrix's bytes; where they end in part of a row, once the session that may be at it has written it."""
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
        raise UnusableInput(f"{path}: line {number}: {error}") from None
