"""Where the time of a session went, from its event log."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from zmlx_bench.schema.event import (
    Done,
    FilledEvent,
    JobStart,
    Loaded,
    Patched,
    PromptEnd,
    Prompts,
    PromptStart,
    Token,
    Warmed,
)
from zmlx_bench.schema.plan import JobKind, Plan
from zmlx_bench.session.log import JobLog


@dataclass
class Spent:
    """Seconds of a session's processes, by what they did, and those around them."""

    processes: int = 0
    """That came to an end, each once."""
    preparing_s: float = 0.0
    """Before the first process: checkpoint found and hashed, prompts made token ids."""
    start_up_s: float = 0.0
    """From a process's start until it begins to load: Python, MLX, mlx-lm."""
    load_s: float = 0.0
    bind_s: float = 0.0
    """The variants' kernels imported and bound."""
    compiling_s: float = 0.0
    """In processes of their own, which compile variants' kernels for all that measure them."""
    warm_up_s: float = 0.0
    """Kernels compiled that no process had before, and the prompt answered until nothing is new."""
    prefill_s: float = 0.0
    """Of contexts, and of timed and untimed prompts to the first token."""
    timed_decode_s: float = 0.0
    untimed_decode_s: float = 0.0
    audit_s: float = 0.0
    """All that audits did after they had loaded."""
    waiting_s: float = 0.0
    """Between processes: the machine's state read, the log forced to the disk, cool-downs."""
    other_s: float = 0.0
    """What is left of processes: their ends, and those that failed, from where they got to."""

    @property
    def total_s(self) -> float:
        """All of it."""
        parts: dict[str, float] = dataclasses.asdict(self)
        return sum(value for name, value in parts.items() if name.endswith("_s"))


def spent_of(plan: Plan, logs: Iterable[tuple[int, JobLog]], preparing_s: float | None = None) -> Spent | None:
    """Return where the time of the finished jobs went, `logs` in the order of their ends; None where none has told.

    What an attempt took that was cut short, and the time until it was taken up again, is in none of them.
    """
    spent = Spent(preparing_s=preparing_s or 0.0)
    before: tuple[int, float] | None = None
    for number, log in logs:
        start, end = log.start, log.end
        if end is None or start.at is None or end.at is None:
            continue
        if before is not None and before[0] == start.resumed:
            spent.waiting_s += max(0.0, start.at - before[1] - (start.compiled_s or 0.0))
        spent.compiling_s += start.compiled_s or 0.0
        before = start.resumed, end.at
        spent.processes += 1
        known = _job(spent, plan.jobs[number].kind, start, log)
        spent.other_s += max(0.0, end.at - start.at - known)
    return spent if spent.processes else None


def _job(spent: Spent, kind: JobKind, start: JobStart, log: JobLog) -> float:
    """Add the phases of a job and return their sum."""
    found = Spent()
    prompt = first = last = start.at or 0.0
    tokens = 0
    for line in log.events:
        match line.event:
            case Loaded():
                found.load_s = line.event.load_s
                found.start_up_s = max(0.0, line.at - last - line.event.load_s)
                last = line.at
            case Patched() if kind != "audit":
                found.bind_s = line.at - last
                last = line.at
            case Prompts() if kind != "audit":
                last = line.at
            case FilledEvent():
                # What came before it was a rehearsal.
                found.prefill_s += line.event.seconds
                found.warm_up_s += max(0.0, line.at - last - line.event.seconds)
                last = line.at
            case Warmed():
                # Where no context is filled, conditions are rehearsed before it too.
                found.warm_up_s += line.at - last
            case PromptStart():
                prompt, tokens = line.at, 0
            case Token():
                if tokens == 0:
                    first = line.at
                    found.prefill_s += first - prompt
                tokens += 1
            case PromptEnd() if kind == "timed":
                found.timed_decode_s += line.at - first
            case PromptEnd():
                found.untimed_decode_s += line.at - first
            case Done() if kind == "audit":
                found.audit_s = line.at - last
            case _:
                pass
    for name, value in dataclasses.asdict(found).items():
        setattr(spent, name, getattr(spent, name) + value)
    return found.total_s
