"""Which device measures what, and when: a state machine without a clock, a file or a network.

`apply` takes what has happened; `decide` says what follows now, as events that are applied already. Both give the same
for the same events in the same order, so that a journal of them is the whole state. An event costs the logarithm of the
sessions that wait, and never a walk over all of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Literal

from zmlx_bench.fleet.items import Item, Key, Slot, Terms
from zmlx_bench.fleet.openings import Openings
from zmlx_bench.schema.fleet import (
    Abandoned,
    Assigned,
    Began,
    Collected,
    Ended,
    FleetEvent,
    FleetQuestion,
    GivenUp,
    Lost,
    Rejected,
    Seen,
    Unused,
)

NameOf = Callable[[str], str]
"""Gives a session of a family a name that no other has."""


class Scheduler:
    """The state of a run."""

    def __init__(self, question: FleetQuestion, terms: Terms) -> None:
        self.question, self.terms = question, terms
        self.items: dict[Key, Item] = {}
        self.slots: dict[str, Slot] = {}
        self.unused: dict[str, str] = {}
        """Nodes of which no device is known: nothing is given to them. Why."""
        self.left = 0
        """Items that are not over."""
        self.running: dict[str, Item] = {}
        """By session."""
        self.arriving: dict[str, Item] = {}
        """By session: finished on its node and not collected."""
        self._by_session: dict[str, Item] = {}
        self._groups: dict[str, set[str]] = {}
        """The devices of each group that answer and are used."""
        self._empty_since: dict[str, float] = {}
        self._open = Openings(question.per_host)
        self._ready: dict[str, list[tuple[int, int, Key]]] = {}
        self._timers: list[tuple[float, int, Key | str]] = []
        """When time alone changes something, and of what: an item, a device or a group."""
        self._barred: dict[str, dict[Key, None]] = {}
        """By group, items that some device of it cannot do."""
        self._doubtful: dict[Key, None] = {}
        """Items that may have to be abandoned or given up."""
        self._count = 0
        self._now = 0.0

    def apply(self, event: FleetEvent) -> None:
        """Take what has happened. Of a session that is no longer under way nothing is taken."""
        self._now = max(self._now, event.at)
        match event:
            case Seen():
                self._seen(event)
            case Lost():
                self._lost(event)
            case Unused():
                self.unused.pop(event.node, None)
                if event.why is not None:
                    self.unused[event.node] = event.why
            case Assigned():
                self._assigned(event)
            case GivenUp():
                self._give_up(self.items[event.family, event.group, event.number], event.why)
            case _:
                item = self._by_session.get(event.session)
                if item is not None and item.session == event.session:
                    self._of_session(event, item)

    def decide(self, at: float, name_of: NameOf) -> list[FleetEvent]:
        """Return what follows at this time: sessions to start, to abandon and to give up."""
        self._now = max(self._now, at)
        decided: list[FleetEvent] = []
        for event in self._decisions(name_of):
            self.apply(event)
            decided.append(event)
        return decided

    def knows(self, session: str) -> bool:
        """Return whether a session of this name was ever given to a device."""
        return session in self._by_session

    def has(self, session: str) -> bool:
        """Return whether a session is the present attempt at its item."""
        item = self._by_session.get(session)
        return item is not None and item.session == session

    # What happened.

    def _seen(self, event: Seen) -> None:
        about = event.device
        slot = self.slots.get(about.device)
        if slot is None:
            slot = self.slots[about.device] = Slot(about)
        else:
            measures = slot.item
            self._leave(slot)
            if slot.pinned is not None and (event.refused is not None or slot.about.group != about.group):
                # What it has half of was begun as another device.
                self._anew(slot.pinned, event.refused or f"{about.device} is {about.group} now")
            elif measures is not None:
                measures.starts -= 1  # It goes on there, whatever else the device says: that is no other start.
        slot.about, slot.alive, slot.refused, slot.aside_until = about, True, event.refused, 0.0
        self._open.add(slot)
        for item in slot.arriving.values():
            item.patient_until = None
        if event.refused is None:
            self._groups.setdefault(about.group, set()).add(about.device)
            self._empty_since.pop(about.group, None)
            self._doubtful.update(self._barred.get(about.group, {}))
            self._ask(about.group)
            if slot.pinned is not None:
                slot.pinned.not_before = self._now
        self._open.place(slot, self._now)

    def _ask(self, group: str) -> None:
        """Make the items of a group that is seen for the first time."""
        for family in self.question.families:
            for number in range(1, self.question.sessions + 1):
                item = Item(family.family, group, number, self._now)
                if item.key not in self.items:
                    self.items[item.key] = item
                    self.left += 1
                    if number == 1:
                        self._wait_until(item, self._now)

    def _lost(self, event: Lost) -> None:
        slot = self.slots[event.device]
        if slot.alive:
            self._leave(slot)
            for item in (slot.pinned, *slot.arriving.values()):
                if item is not None:
                    item.why = f"{event.device} is gone"
                    self._be_patient(item)
            self._open.place(slot, self._now)

    def _leave(self, slot: Slot) -> None:
        """Take a device out of its group; what ran on it waits for it."""
        group, device = slot.about.group, slot.about.device
        slot.alive = False
        if slot.item is not None:
            item = self._release(slot)
            self._pin(item, slot, f"{device} is gone")
            item.not_before = self._now
        self._open.remove(slot)
        members = self._groups.get(group, set())
        if device in members:
            members.discard(device)
            self._doubtful.update(self._barred.get(group, {}))
            if not members:
                self._empty_since[group] = self._now
                self._timer(self._now + self.terms.patience_s, group)

    def _assigned(self, event: Assigned) -> None:
        slot = self.slots[event.device]
        item = self.items[event.family, slot.about.group, event.number]
        item.state, item.session, item.device, item.since = "running", event.session, event.device, event.at
        item.starts += 1
        self._by_session[event.session] = self.running[event.session] = item
        self._open.take(slot, item, self._now)

    def _of_session(self, event: Began | Ended | Collected | Rejected | Abandoned, item: Item) -> None:
        match event:
            case Began():
                item.begun, item.patient_until = True, None
            case Ended():
                slot = self.slots[item.device or ""]
                if slot.item is item:
                    self._release(slot)
                    self._ended(event, item, slot)
                    self._open.place_host(slot, self._now)
            case Collected():
                ended = item.since
                self._close(item, "collected", "")
                following = self.items.get((item.family, item.group, item.number + 1))
                if following is not None and following.state == "waiting":
                    self._wait_until(following, ended + self.question.gap_s)
            case Rejected():
                self._bar(item)
                self._anew(item, event.why)
            case Abandoned():
                item.patient_until = None
                if item.tried_out(self.terms):
                    self._bar(item)
                self._anew(item, event.why)

    def _ended(self, event: Ended, item: Item, slot: Slot) -> None:
        match event.outcome:
            case "finished":
                item.state, item.since, item.patient_until = "arriving", event.at, None
                self.arriving[event.session] = slot.arriving[item.key] = item
            case "interrupted":
                self._pin(item, slot, event.why or "interrupted")
                self._wait_until(item, self._now + self.terms.again_s * 2 ** min(item.starts - 1, 6))
            case "taken":
                slot.aside_until = self._now + self.terms.taken_s
                self._timer(slot.aside_until, slot.about.device)
                # It was not the item's fault; patience bounds it.
                item.starts -= 1
                if item.begun:
                    self._pin(item, slot, event.why)
                    item.not_before = self._now
                else:
                    self._anew(item, event.why)
                    self._be_patient(item)
            case "changed" if not item.tried_out(self.terms):
                self._anew(item, event.why)
            case "failed" if item.device not in item.failed_on and not item.tried_out(self.terms):
                # A process of it may have been killed, which says nothing of the device.
                item.failed_on.add(item.device or "")
                self._anew(item, event.why)
            case _:
                self._bar(item)
                self._anew(item, event.why)

    # What follows.

    def _decisions(self, name_of: NameOf) -> Iterator[FleetEvent]:
        while self._timers and self._timers[0][0] <= self._now:
            self._due(heapq.heappop(self._timers)[2])
        while self._doubtful:
            item = self.items[next(iter(self._doubtful))]
            del self._doubtful[item.key]
            yield from self._judgement(item)
        while self._open.resuming:
            slot = self.slots[next(iter(self._open.resuming))]
            assert slot.pinned is not None
            assert slot.pinned.session is not None
            yield self._assignment(slot.pinned, slot, slot.pinned.session)
        while self._open.changed:
            group = next(iter(self._open.changed))
            del self._open.changed[group]
            yield from self._assignments(group, name_of)

    def _due(self, about: Key | str) -> None:
        """Look again at what a timer was set for."""
        if isinstance(about, tuple):
            item = self.items[about]
            self._doubtful[item.key] = None
            if item.state == "waiting" and item.not_before is not None and item.not_before <= self._now:
                self._ripe(item)
        elif about in self.slots:
            self._open.place(self.slots[about], self._now)
        else:
            for family in self.question.families:
                for number in range(1, self.question.sessions + 1):
                    self._doubtful[family.family, about, number] = None

    def _judgement(self, item: Item) -> Iterator[FleetEvent]:
        """Yield that an item is abandoned or given up, where nothing else can come of it."""
        tired = item.patient_until is not None and item.patient_until <= self._now
        if tired and item.session is not None and item.state in ("waiting", "arriving"):
            why = f"{item.why}, for {self.terms.patience_s / 60:g} minutes"
            yield Abandoned(at=self._now, session=item.session, why=why)
        elif item.session is not None and item.state == "waiting" and item.tried_out(self.terms) and self._others(item):
            yield Abandoned(at=self._now, session=item.session, why=item.tried)
        elif not item.over and (why_not := self._hopeless(item, tired=tired)) is not None:
            yield GivenUp(at=self._now, family=item.family, group=item.group, number=item.number, why=why_not)

    def _hopeless(self, item: Item, *, tired: bool) -> str | None:
        before = self.items.get((item.family, item.group, item.number - 1))
        if before is not None and before.state == "given up":
            return f"session {before.number} was given up: {before.why}"
        if item.state != "waiting" or item.not_before is None:
            return None
        if item.tried_out(self.terms):
            return item.tried
        devices = self._groups.get(item.group, set())
        if item.device is not None:
            return None
        if devices and devices <= item.not_on:
            return item.why
        if not devices and self._empty_since[item.group] + self.terms.patience_s <= self._now:
            return f"no such device answers{f'; last: {item.why}' if item.why else ''}"
        return f"{item.why}, for {self.terms.patience_s / 60:g} minutes" if tired else None

    def _others(self, item: Item) -> set[str]:
        """Return the devices that can do an item beside the one that has half of it."""
        return self._groups.get(item.group, set()) - item.not_on - {item.device}

    def _assignments(self, group: str, name_of: NameOf) -> Iterator[FleetEvent]:
        ready, free = self._ready.get(group, []), self._open.free[group]
        unfit: list[tuple[int, int, Key]] = []
        while ready and free:
            entry = heapq.heappop(ready)
            item = self.items[entry[2]]
            if item.state != "waiting" or item.device is not None:
                continue
            device = next((one for one in free if one not in item.not_on), None)
            if device is None:
                unfit.append(entry)
            else:
                yield self._assignment(item, self.slots[device], name_of(item.family))
        for entry in unfit:
            heapq.heappush(ready, entry)

    def _assignment(self, item: Item, slot: Slot, session: str) -> Assigned:
        return Assigned(at=self._now, family=item.family, number=item.number, device=slot.about.device, session=session)

    # Bookkeeping.

    def _close(self, item: Item, state: Literal["collected", "given up"], why: str) -> None:
        self._forget(item)
        self._barred.get(item.group, {}).pop(item.key, None)
        item.state, item.since, item.why, item.patient_until = state, self._now, why, None
        self.left -= 1

    def _give_up(self, item: Item, why: str) -> None:
        if item.over:
            return
        self._close(item, "given up", why)
        following = item.family, item.group, item.number + 1
        if following in self.items:
            self._doubtful[following] = None

    def _anew(self, item: Item, why: str) -> None:
        """Forget an attempt: the item is for any device of its group."""
        self._forget(item)
        if item.begun:
            item.patient_until = None
        item.state, item.since, item.why = "waiting", self._now, why
        item.session, item.device, item.begun = None, None, False
        self._doubtful[item.key] = None
        self._wait_until(item, self._now)

    def _bar(self, item: Item) -> None:
        """Do not give an item to its device again; on another one its starts count anew."""
        item.not_on.add(item.device or "")
        item.starts = 0
        self._barred.setdefault(item.group, {})[item.key] = None

    def _forget(self, item: Item) -> None:
        """Take an item off the device that it is on, half on, or arrives from."""
        if item.session is not None:
            self.running.pop(item.session, None)
            self.arriving.pop(item.session, None)
        slot = self.slots.get(item.device or "")
        if slot is None:
            return
        slot.arriving.pop(item.key, None)
        if slot.pinned is item:
            slot.pinned = None
        if slot.item is item:
            self._release(slot)
        self._open.place_host(slot, self._now)

    def _release(self, slot: Slot) -> Item:
        """Take the item that runs off its device."""
        item = self._open.release(slot)
        self.running.pop(item.session or "", None)
        return item

    def _pin(self, item: Item, slot: Slot, why: str) -> None:
        """Let an item that its device has half of wait for it."""
        item.state, item.since, item.why = "waiting", self._now, why
        slot.pinned = item
        self._be_patient(item)
        self._open.place_host(slot, self._now)

    def _be_patient(self, item: Item) -> None:
        if item.patient_until is None:
            item.patient_until = self._now + self.terms.patience_s
            self._timer(item.patient_until, item.key)
        self._doubtful[item.key] = None

    def _wait_until(self, item: Item, when: float) -> None:
        item.not_before = when
        if when > self._now:
            self._timer(when, item.key)
        else:
            self._ripe(item)

    def _ripe(self, item: Item) -> None:
        """Let an item start as soon as there is a device."""
        if item.device is not None:
            self._open.place(self.slots[item.device], self._now)
            return
        self._count += 1
        heapq.heappush(self._ready.setdefault(item.group, []), (item.number, self._count, item.key))
        self._open.changed[item.group] = None

    def _timer(self, when: float, about: Key | str) -> None:
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, about))
