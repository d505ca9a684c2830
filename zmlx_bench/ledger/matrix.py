"""`matrix.jsonl`: one row a capsule, appended under a lock."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from zmlx_bench import files
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.schema.matrix import MatrixRow

LOCK_TIMEOUT_S = 60.0


def append(path: Path, rows: Sequence[MatrixRow]) -> int:
    """Append the rows whose capsules the matrix does not have yet; return how many were added.

    The rows go in with one write under a lock, so that another process never sees half a row; a torn last
    line (the machine went down) is cut off first.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S):
            _mend(path)
            known = {row.capsule for row in read(path)}
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
    except Timeout:
        raise CannotHere(f"{path}: another process has held its lock for {LOCK_TIMEOUT_S:g} s; try again") from None
    except OSError as error:
        raise files.cannot_write(path, error) from None


def _mend(path: Path) -> None:
    """End the last line where only its newline is missing; cut it off where it is no row."""
    data = files.read_bytes(path, files.LARGEST_LINES) if path.exists() else b""
    last = data.rpartition(b"\n")[2]
    if not last:
        return
    try:
        MatrixRow.model_validate_json(last)
    except ValidationError:
        os.truncate(path, len(data) - len(last))
    else:
        with path.open("ab") as file:
            file.write(b"\n")


def read(path: Path) -> list[MatrixRow]:
    """Return all rows in their order; UnusableInput names the line and field of a bad one."""
    if not path.exists():
        return []
    lines = files.read_bytes(path, files.LARGEST_LINES).splitlines()
    rows: list[MatrixRow] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(MatrixRow.model_validate_json(line))
        except ValidationError as error:
            raise UnusableInput(f"{path}: line {number}: {files.first_error(error)}") from None
    return rows
