"""A scheduler that is told what happens, and what it said follows."""

from __future__ import annotations

from itertools import count

from tests.fleet.scripted import START, question
from zmlx_bench.fleet.items import Terms
from zmlx_bench.fleet.scheduler import Scheduler
from zmlx_bench.schema.fleet import Assigned, Began, Collected, Ended, FleetDevice, FleetEvent, GivenUp, Outcome, Seen


class Play:
    """A scheduler at a time, with names that count."""

    def __init__(self, *families: str, terms: Terms | None = None, **other: object) -> None:
        self.scheduler = Scheduler(question(*families, **other), terms or Terms())
        self.at = START
        self.events: list[FleetEvent] = []
        self._numbers = count(1)

    def happens(self, event: FleetEvent) -> list[FleetEvent]:
        self.events.append(event)
        self.scheduler.apply(event)
        return self.decides()

    def decides(self) -> list[FleetEvent]:
        decided = self.scheduler.decide(self.at, lambda family: f"s{next(self._numbers)}-{family}")
        self.events += decided
        return decided

    def sees(self, *devices: FleetDevice, refused: str | None = None) -> list[FleetEvent]:
        return [found for one in devices for found in self.happens(Seen(at=self.at, device=one, refused=refused))]

    def begins(self, session: str) -> list[FleetEvent]:
        return self.happens(Began(at=self.at, session=session))

    def ends(self, session: str, outcome: Outcome = "finished", why: str = "") -> list[FleetEvent]:
        return self.happens(Ended(at=self.at, session=session, outcome=outcome, why=why))

    def collects(self, session: str) -> list[FleetEvent]:
        return self.happens(Collected(at=self.at, session=session))

    def later(self, seconds: float) -> list[FleetEvent]:
        self.at += seconds
        return self.decides()


def assigned(events: list[FleetEvent]) -> list[tuple[str, str, int, str]]:
    return [(one.session, one.family, one.number, one.device) for one in events if isinstance(one, Assigned)]


def given_up(events: list[FleetEvent]) -> list[tuple[str, int, str]]:
    return [(one.family, one.number, one.why) for one in events if isinstance(one, GivenUp)]
