"""How a run stands, from its journal: for people in one screen, and as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from zmlx_bench.fleet.items import Item, Terms
from zmlx_bench.fleet.journal import Place, read
from zmlx_bench.fleet.scheduler import Scheduler
from zmlx_bench.schema.fleet import LOCAL, FleetRun

MOST_LINES = 12
"""Of one kind; what is more is counted."""


def standing(place: Place) -> Scheduler:
    """Return the scheduler as the journal leaves it."""
    scheduler = Scheduler(place.run().question, Terms())
    for event in read(place.journal):
        scheduler.apply(event)
    return scheduler


def lines(run: FleetRun, scheduler: Scheduler, at: float, *, headed: bool, over: bool) -> Iterator[str]:
    """Yield what `zmlx fleet status` prints at a time (seconds since 1970)."""
    question = run.question
    asked = ", ".join(_asked(one.family, one.variants) for one in question.families)
    yield f"fleet run {run.fleet}: {asked}; {question.sessions} sessions on each kind of device"
    items = list(scheduler.items.values())
    counts = {state: sum(item.state == state for item in items) for state in ("collected", "running", "arriving")}
    waiting, lost = _of(items, "waiting"), _of(items, "given up")
    head = _head(headed=headed, over=over)
    # On this machine alone a session ends with its head, which a killed one has not written down.
    ended = not headed and run.address in (None, LOCAL)
    yield (
        f"{counts['collected']} of {len(items)} sessions collected, "
        f"{counts['running']} {'cut short' if ended and counts['running'] else 'running'}, "
        f"{counts['arriving']} arriving, {len(waiting)} waiting, {len(lost)} given up; {head}"
    )
    yield from _cut(_devices(scheduler, at, ended=ended))
    yield from _cut(f"  {node}: not used: {why}" for node, why in sorted(scheduler.unused.items()))
    yield from _cut(f"  waits: {_what(item)}: {_why_waiting(item, at)}" for item in waiting)
    yield from _cut(f"  given up: {_what(item)}: {item.why}" for item in lost)


def summary(run: FleetRun, scheduler: Scheduler, *, headed: bool, over: bool) -> dict[str, Any]:
    """Return the same as one JSON object."""
    return {
        "fleet": run.fleet,
        "headed": headed,
        "over": over,
        "devices": [
            {
                "device": name,
                "host": slot.about.host,
                "group": slot.about.group,
                "answers": slot.alive,
                "refused": slot.refused,
                "session": slot.item.session if slot.item is not None else None,
                "checkpoints": list(slot.about.checkpoints),
            }
            for name, slot in sorted(scheduler.slots.items())
        ],
        "unused": [{"node": node, "why": why} for node, why in sorted(scheduler.unused.items())],
        "sessions": [
            {
                "family": item.family,
                "group": item.group,
                "number": item.number,
                "state": item.state,
                "session": item.session,
                "device": item.device,
                "since": item.since,
                "not_before": item.not_before,
                "why": item.why,
            }
            for _, item in sorted(scheduler.items.items())
        ],
    }


def _devices(scheduler: Scheduler, at: float, *, ended: bool) -> Iterator[str]:
    for name, slot in sorted(scheduler.slots.items(), key=lambda one: (one[1].item is None, one[0])):
        if slot.item is not None:
            item = slot.item
            since = "cut short" if ended else f"for {_span(at - item.since)}"
            does = f"session {item.number} of {item.family} {since} ({item.session})"
        elif slot.refused is not None:
            does = f"not used: {slot.refused}"
        elif not slot.alive:
            does = "answers no more"
        elif slot.aside_until > at:
            does = f"taken by somebody else, tried again in {_span(slot.aside_until - at)}"
        else:
            does = "free"
        yield f"  {name}: {does}"


def _why_waiting(item: Item, at: float) -> str:
    if item.not_before is None:
        return f"for session {item.number - 1}"
    if item.not_before > at:
        until = f"{datetime.fromtimestamp(item.not_before):%H:%M}"
        reason = item.why or "the policy wants time between two sessions"
        return f"until {until}, in {_span(item.not_before - at)}: {reason}"
    where = f"for {item.device}" if item.device is not None else "for a device"
    return f"{where}{f': {item.why}' if item.why else ''}"


def _asked(family: str, variants: tuple[str, ...] | None) -> str:
    return f"{family} ({'its default variants' if variants is None else ', '.join(variants)})"


def _what(item: Item) -> str:
    return f"session {item.number} of {item.family} on {item.group}"


def _of(items: Iterable[Item], state: str) -> list[Item]:
    return sorted((item for item in items if item.state == state), key=lambda item: item.key)


def _head(*, headed: bool, over: bool) -> str:
    if headed:
        return "a head is at it"
    return "it has ended" if over else "no head is at it; the command that began it would go on with it"


def _cut(found: Iterable[str]) -> Iterator[str]:
    every = list(found)
    yield from every[:MOST_LINES]
    if len(every) > MOST_LINES:
        yield f"  and {len(every) - MOST_LINES} more"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
