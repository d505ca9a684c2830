"""A child process that works through tasks and reports events, and how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from zmlx_bench.bench.schema import AllDone, BenchTask, TaskStarted
from zmlx_bench.errors import CannotHere
from zmlx_bench.process import UTF8, Child, ending
from zmlx_bench.schema.base import Status, StrictModel

Event = TypeVar("Event")


class Reporter(Generic[Event]):
    """`python -m MODULE FD`, told what to do on standard input; its events are validated as they come."""

    def __init__(
        self,
        module: str,
        told: bytes,
        events: TypeAdapter[Event],
        timeout_s: float,
        *,
        output: IO[bytes] | IO[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`output` takes what it prints, by default this process's standard error; `env` replaces the environment."""
        self.timeout_s = timeout_s
        """Longest silence allowed from now on."""
        self.ending: tuple[Status, str] = ("crash", "ended before it was done")
        """Of a process that did not say that it is done."""
        self._events = events
        own = {**os.environ, **UTF8} if env is None else env
        self._child = Child([sys.executable, "-m", module], told, output or sys.stderr, own)

    def events(self) -> Iterator[Event]:
        """Yield events until the process ends or is silent for too long."""
        while True:
            came = self._child.read(self.timeout_s)
            if came is None:
                self.ending = ("crash", ending(self._child.process.wait()))
                return
            _, lines = came
            if not lines:
                self.ending = ("timeout", f"silent for {self.timeout_s:g} s")
                return
            yield from map(self._events.validate_json, lines)

    def kill(self) -> None:
        """End whatever is left of it."""
        self._child.kill(0)


class Lost(NamedTuple):
    """A task whose process ended before it was done with it."""

    task: BenchTask
    status: Status
    reason: str


def work_through(
    module: str,
    tasks: Sequence[BenchTask],
    told: Callable[[Sequence[BenchTask]], StrictModel],
    events: TypeAdapter[Event],
    timeout_s: float,
) -> Iterator[Event | Lost]:
    """Yield what processes report that work through `tasks`, and the tasks that took their process with them.

    Of such a task what is left is lost; a new process goes on with the next one. `told` returns what a process is told
    of the tasks that are left. CannotHere where one does not come to the first.
    """
    while tasks:
        at: int | None = None
        process = Reporter(module, told(tasks).model_dump_json().encode(), events, timeout_s)
        try:
            for event in process.events():
                match event:
                    case TaskStarted(index=index):
                        at = index
                    case AllDone():
                        return
                    case _:
                        yield event
        finally:
            process.kill()
        if at is None:
            raise CannotHere(f"the process of {module} did not come to the first kernel: {process.ending[1]}")
        yield Lost(tasks[at], *process.ending)
        tasks = tasks[at + 1 :]
