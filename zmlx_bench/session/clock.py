"""Whether the time of day was set while a session ran: its times then say nothing of how long ago another one was."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple


class Reading(NamedTuple):
    """Both clocks at one moment."""

    resumed: int
    """How often the session had been taken up again: the machine may have been started anew between two times."""
    time: str
    since_boot_s: float | None
    """Of the clock that nobody sets; None where it was not told."""


def set_by(readings: Iterable[Reading]) -> float | None:
    """Return by how many seconds the time of day was off from where it began, at the reading where that is most.

    Positive is ahead. `readings` in the order in which they were taken; None where none tells both clocks. Between two
    times that a session was taken up only a time of day that went backwards is seen.
    """
    worst: float | None = None
    known: tuple[int, float, float] | None = None
    for each in readings:
        if each.since_boot_s is None:
            continue
        wall = datetime.fromisoformat(each.time).timestamp()
        offset = wall - each.since_boot_s
        if known is None or known[0] != each.resumed:
            off = 0.0 if known is None else min(0.0, wall - known[2])
            known = each.resumed, offset, wall
        else:
            off = offset - known[1]
            known = known[0], known[1], wall
        if worst is None or abs(off) > abs(worst):
            worst = off
    return None if worst is None else round(worst, 3)
