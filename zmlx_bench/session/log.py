"""`events.jsonl`: every event of a session on disk as it happens, and the reader that a resume starts from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.base import StrictModel
from zmlx_bench.schema.event import JobEnd, JobEvent, JobStart, LogLine
from zmlx_bench.schema.refused import first_error

_LINE: TypeAdapter[LogLine] = TypeAdapter(LogLine)


@dataclass
class JobLog:
    """What the log holds of one finished job."""

    start: JobStart
    events: list[JobEvent] = field(default_factory=list)
    end: JobEnd | None = None


class EventLog:
    """Appends to a session's event log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            cut_torn_line(path)
            self._file: BinaryIO = path.open("ab", buffering=0)
        except OSError as error:
            raise files.cannot_write(path, error) from None

    def write(self, line: StrictModel) -> None:
        """Append one line; it is in the system's hands, and whole, when this returns."""
        data = line.model_dump_json(exclude_none=True).encode() + b"\n"
        try:
            # A disk that fills up takes part of a line first and says so only at the next write.
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise files.cannot_write(self.path, error) from None

    def sync(self) -> None:
        """Force everything written so far to the disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise files.cannot_write(self.path, error) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def cut_torn_line(path: Path) -> None:
    """Cut off what a killed supervisor left of its last line."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.truncate(path, whole)


def read(path: Path) -> dict[int, JobLog]:
    """Return the finished jobs of a log by id; attempts that did not end are left out."""
    return dict(finished(path))


def ends(path: Path) -> dict[int, JobEnd]:
    """Return how each finished job of a log ended."""
    return {number: log.end for number, log in finished(path) if log.end is not None}


def finished(path: Path) -> Iterator[tuple[int, JobLog]]:
    """Yield the finished jobs of a log one by one in the order of their ends: a long session's do not fit in memory."""
    open_jobs: dict[int, JobLog] = {}
    ended: set[int] = set()
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                break
            try:
                line = _LINE.validate_json(raw)
            except ValidationError as error:
                raise UnusableInput(f"{path}: line {number}: {first_error(error)}") from None
            if isinstance(line, JobStart):
                open_jobs = {line.job: JobLog(line)}
            elif line.job not in open_jobs:
                raise UnusableInput(f"{path}: line {number}: job {line.job} has no start before it")
            elif isinstance(line, JobEvent):
                open_jobs[line.job].events.append(line)
            else:
                if line.job in ended:
                    raise UnusableInput(f"{path}: line {number}: job {line.job} ended before")
                ended.add(line.job)
                log = open_jobs.pop(line.job)
                log.end = line
                yield line.job, log
