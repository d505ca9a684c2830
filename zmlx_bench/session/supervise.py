"""Runs one worker process: start, watch, time out, classify. Stamps its events with the supervisor's own clock."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from zmlx_bench import files
from zmlx_bench.measured.messages import Instructions
from zmlx_bench.process import Child, ending, tail
from zmlx_bench.schema.base import Status
from zmlx_bench.schema.event import (
    Audited,
    Caches,
    Deepened,
    Done,
    Failed,
    FilledEvent,
    Filling,
    Forced,
    Loaded,
    Patched,
    Prefix,
    PromptEnd,
    PromptStart,
    Token,
    Warmed,
    WorkerEvent,
)
from zmlx_bench.schema.plan import Timeouts
from zmlx_bench.session.tally import BrokenProtocol

_EVENT: TypeAdapter[WorkerEvent] = TypeAdapter(WorkerEvent)
_MOST_PRINTED = 64 * 1024 * 1024
_GRACE_S = 0.5
_LOOK_S = 1.0
"""How often a worker is looked at that sends nothing; seldom, because it shares the processors with it."""
_OUT_OF_MEMORY = ("std::bad_alloc", "MemoryError", "Cannot allocate memory", "out of memory")

OnEvent = Callable[[float, WorkerEvent], None]


@dataclass(frozen=True)
class Outcome:
    """How a worker ended."""

    status: Status
    message: str | None
    exit_code: int | None
    cpu_s: float | None
    """CPU seconds it used, where it lived to say so."""


class Worker:
    """One worker process in a process group of its own."""

    def __init__(
        self, instructions: Instructions, env: dict[str, str], log: Path, module: str, python: str = sys.executable
    ) -> None:
        self._log = log
        self._oom_kills = _oom_kills()
        with files.open_new(log) as output:
            self._child = Child([python, "-m", module], instructions.encoded(), output, env)

    def watch(self, timeouts: Timeouts, on_event: OnEvent) -> Outcome:
        """Pass every event on until the worker ends, and say how it ended. Kills it when it is silent too long."""
        failed: Failed | None = None
        done: Done | None = None
        limit, phase = timeouts.load_s, "loading"
        now = time.perf_counter()
        deadline, look = now + limit, now + _LOOK_S
        while True:
            try:
                came = self._child.read(min(deadline, look) - time.perf_counter())
                if came is None:
                    break
                now, lines = came
                events = [_parsed(line) for line in lines]
            except ValueError as error:
                self.kill()
                return self._end("crash", f"sent something that is no event: {error}")
            if now >= look:
                look = now + _LOOK_S
                if self._printed() > _MOST_PRINTED:
                    self.kill()
                    return self._end("crash", f"printed more than {_MOST_PRINTED >> 20} MiB while {phase}")
            if not events and now >= deadline:
                self.kill()
                return self._end("timeout", f"silent for {limit:g} s while {phase}")
            for event in events:
                try:
                    on_event(now, event)
                except BrokenProtocol as broken:
                    self.kill()
                    return self._end("crash", f"broke the protocol: {broken}")
                match event:
                    case Failed():
                        failed = event
                    case Done():
                        done = event
                    case _:
                        limit, phase = _entered(event, timeouts) or (limit, phase)
                deadline = now + limit
        return self._ended(failed, done, timeouts)

    def kill(self) -> None:
        """End the worker's whole process group, politely first."""
        self._child.kill(_GRACE_S)

    def _ended(self, failed: Failed | None, done: Done | None, timeouts: Timeouts) -> Outcome:
        try:
            self._child.process.wait(timeouts.decode_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._end("timeout", "closed its pipe and did not exit")
        # Whatever it forked goes with it.
        self._child.signal(signal.SIGKILL)
        code = self._child.process.returncode
        if failed is not None:
            return self._end(failed.status, failed.message)
        if code == 0 and done is not None:
            self._child.close()
            return Outcome("ok", None, code, done.cpu_s)
        if code == -signal.SIGKILL and _oom_kills() > self._oom_kills:
            return self._end("oom", "killed by the system, which had no memory left for it")
        status: Status = "oom" if any(words in self._tail() for words in _OUT_OF_MEMORY) else "crash"
        return self._end(status, ending(code) + ("" if done or code < 0 else " before it was done"))

    def _end(self, status: Status, message: str) -> Outcome:
        self._child.close()
        printed = self._tail()
        return Outcome(status, message + (f"\n{printed}" if printed else ""), self._child.process.returncode, None)

    def _printed(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _tail(self) -> str:
        try:
            with self._log.open("rb") as file:
                return tail(file)
        except OSError:
            return ""


def _entered(event: WorkerEvent, timeouts: Timeouts) -> tuple[float, str] | None:
    """Return the longest silence, seconds, and the name of the phase that an event begins, or None."""
    match event:
        case Loaded() | Patched() | FilledEvent() | Caches():
            return timeouts.prefill_s, "warming up"
        case Filling():
            return timeouts.prefill_s, f"prefilling the context, after {event.tokens} tokens"
        case Warmed() | PromptEnd() | Deepened():
            return timeouts.prefill_s, "between prompts"
        case Forced() | Audited():
            return timeouts.prefill_s, "forcing tokens"
        case PromptStart():
            return timeouts.prefill_s, f"prefilling {event.prompt}"
        case Token() | Prefix():
            return timeouts.decode_s, "decoding"
    return None


def _parsed(line: bytes) -> WorkerEvent:
    try:
        return _EVENT.validate_json(line)
    except ValidationError as error:
        raise ValueError(error.errors(include_url=False)[0]["msg"]) from None


def _oom_kills() -> int:
    """Return how many processes Linux has killed for memory since it started, in control groups or at large; else 0."""
    try:
        with Path("/proc/vmstat").open(encoding="utf-8") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
