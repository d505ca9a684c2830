"""What the head of a fleet costs: 200 devices that there are not, 2,000 sessions that a script ends.

Scheduler, journal and head are the real ones; nodes answer in this process, and what they return is not looked at.
The clock is the script's: a second passes at each step, a session takes ten minutes. One line a figure:
    python benchmarks/fleet_scale.py
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fleet.scripted import Clock, Collected, Scripted, device, head_of, place_of
from zmlx_bench.fleet.head import Head
from zmlx_bench.fleet.show import standing

KINDS, PER_KIND, FAMILIES, SESSIONS = 100, 2, 10, 2
EARLY, LAST = (100, 600), 500


@dataclass(frozen=True)
class Mark:
    """Where the head stood when so many sessions had been collected."""

    sessions: int
    cpu_s: float
    bytes: int


def fleet(root: Path, kinds: int = KINDS) -> tuple[Head, Scripted, Collected]:
    """Return a head whose devices have all been seen."""
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(*(device(f"h{k}-{n}", kind=f"Made GPU {k}") for k in range(kinds) for n in range(PER_KIND)))
    place = place_of(root, *(f"family{number}" for number in range(FAMILIES)), sessions=SESSIONS)
    return head_of(place, nodes, collected), nodes, collected


def main() -> None:
    """Measure time and memory, each in a run of its own."""
    for measured in ("time", "memory"):
        if measured == "memory":
            tracemalloc.start()
        with tempfile.TemporaryDirectory() as folder:
            head, nodes, collected = fleet(Path(folder))
            marks = [Mark(0, time.process_time(), 0)]
            while head.scheduler.left or not head.scheduler.slots:
                head.step()
                nodes.clock.now += 1
                if len(collected.sessions) >= marks[-1].sessions + 100:
                    held = tracemalloc.get_traced_memory()[0] if measured == "memory" else 0
                    marks.append(Mark(len(collected.sessions), time.process_time(), held))
            head.close()
            if measured == "time":
                _times(marks)
                began = time.process_time()
                standing(head.place)
                size = head.place.journal.stat().st_size
                print(f"the journal is read again: {time.process_time() - began:.2f} s of CPU, {size / 1e6:.1f} MB")
            else:
                _memory(marks)


def _at(marks: list[Mark], sessions: int) -> Mark:
    return min(marks, key=lambda mark: abs(mark.sessions - sessions))


def _windows(marks: list[Mark]) -> tuple[tuple[Mark, Mark], tuple[Mark, Mark]]:
    total = marks[-1].sessions
    return (_at(marks, EARLY[0]), _at(marks, EARLY[1])), (_at(marks, total - LAST), marks[-1])


def _times(marks: list[Mark]) -> None:
    whole = marks[-1].cpu_s - marks[0].cpu_s
    print(f"{marks[-1].sessions} sessions: {1000 * whole / marks[-1].sessions:.2f} ms of the head's CPU time a session")
    early, late = (
        1000 * (after.cpu_s - before.cpu_s) / (after.sessions - before.sessions) for before, after in _windows(marks)
    )
    print(f"sessions 100 to 600: {early:.2f} ms; the last 500: {late:.2f} ms; {late / early:.2f} times")


def _memory(marks: list[Mark]) -> None:
    (_, early), (_, late) = _windows(marks)
    print(f"after 600 sessions: {early.bytes / 1e6:.2f} MB; at the end: {late.bytes / 1e6:.2f} MB;", end=" ")
    print(f"{late.bytes / early.bytes:.2f} times")


if __name__ == "__main__":
    main()
