"""One process of a screening: started, listened to, and what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from zmlx_bench.analysis.screen import BASELINE, NULL, Segment
from zmlx_bench.bench.reporter import Reporter
from zmlx_bench.measured.messages import Instructions
from zmlx_bench.process import tail
from zmlx_bench.schema.base import Status
from zmlx_bench.schema.event import Done, Failed, Loaded, PromptEnd, PromptStart, Token
from zmlx_bench.schema.plan import Timeouts
from zmlx_bench.screen.schema import Began, Dropped, Event

MODULE = "zmlx_bench.measured.screening"
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass
class Ran:
    """What a process reported until it ended."""

    segments: list[Segment] = field(default_factory=list)
    """Whole ones, in their order."""
    answers: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    """Token ids of each stock arm's segments."""
    dropped: dict[str, Dropped] = field(default_factory=dict)
    at: str | None = None
    """The arm of the segment that had begun; None while loading."""
    done: bool = False
    status: Status = "crash"
    message: str = "ended before it was done"
    """How it ended where it was not done."""


def run(told: Sequence[Instructions], env: Mapping[str, str], timeouts: Timeouts, heard: Callable[[Ran], None]) -> Ran:
    """Run a process to its end; `heard` is told after each segment and drop. It is killed however this is left."""
    ran = Ran()
    lines = b"\n".join(each.encoded() for each in told)
    with tempfile.TemporaryFile() as output:
        process = Reporter(MODULE, lines, _EVENT, timeouts.load_s, output=output, env=env)
        try:
            _listen(process, ran, timeouts, heard)
        except ValidationError as error:
            ran.message = f"sent something that is no event: {error.errors(include_url=False)[0]['msg']}"
        finally:
            process.kill()
        if not ran.done:
            ran.message = "\n".join(part for part in (ran.message, tail(output)) if part)
    return ran


def _listen(process: Reporter[Event], ran: Ran, timeouts: Timeouts, heard: Callable[[Ran], None]) -> None:
    times: list[int] = []
    ids: list[int] = []
    for event in process.events():
        match event:
            case Token():
                times.append(event.t_ns)
                ids.append(event.id)
                process.timeout_s = timeouts.decode_s
            case PromptStart():
                times, ids = [], []
            case PromptEnd():
                process.timeout_s = timeouts.prefill_s
                _keep(ran, tuple(times), tuple(ids))
                heard(ran)
            case Began():
                ran.at = event.arm
                heard(ran)
            case Dropped():
                ran.dropped[event.arm] = event
                ran.segments = [segment for segment in ran.segments if segment.arm != event.arm]
                heard(ran)
            case Loaded():
                process.timeout_s = timeouts.prefill_s
            case Failed():
                ran.status, ran.message = event.status, event.message
                return
            case Done():
                ran.done = True
                return
    ran.status, ran.message = process.ending


def _keep(ran: Ran, times: tuple[int, ...], ids: tuple[int, ...]) -> None:
    if ran.at is None:
        return
    ran.segments.append(Segment(ran.at, times))
    if ran.at in (BASELINE, NULL):
        ran.answers.setdefault(ran.at, []).append(ids)
