"""The head: asks the nodes, tells the scheduler, writes down what follows, and has it done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from zmlx_bench import __version__
from zmlx_bench.errors import CannotHere
from zmlx_bench.fleet import parcel as parcels
from zmlx_bench.fleet.arrive import Refused, receive
from zmlx_bench.fleet.items import Terms
from zmlx_bench.fleet.journal import Journal, Place, read
from zmlx_bench.fleet.nodes import NodeFails, Nodes, Report
from zmlx_bench.fleet.rows import Rows
from zmlx_bench.fleet.scheduler import Scheduler
from zmlx_bench.fleet.surveys import AGAIN_S
from zmlx_bench.schema.fleet import (
    Abandoned,
    Assigned,
    Began,
    Collected,
    Ended,
    FleetDevice,
    FleetEvent,
    FleetRun,
    FleetWork,
    GivenUp,
    Lost,
    Rejected,
    Seen,
    Unused,
)
from zmlx_bench.session import store

Say = Callable[[str], None]
Receive = Callable[[FleetWork, Report, Nodes], None]
"""Takes what a node returned, or raises Refused, or NodeFails."""
QUIET_S = 120.0
"""Without an answer until `collect` leaves."""


@dataclass(frozen=True)
class Pace:
    """How often the head looks. Seconds."""

    step_s: float = 1.0
    devices_s: float = 10.0
    ask_again_s: float = AGAIN_S
    """Until a node is asked again that could not say what it has, or with what it has is something wrong."""


@dataclass
class Head:
    """A head at work: `Place.alone` is held by who makes it."""

    place: Place
    nodes: Nodes
    code: str
    """Of the head's own zmlx: a node with another is not used."""
    say: Say
    terms: Terms = field(default_factory=Terms)
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.time
    receive: Receive | None = None
    """Where something else than `arrive` takes what comes: in benchmarks of the head alone."""
    run: FleetRun = field(init=False)
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        self.run = self.place.run()
        self.scheduler = Scheduler(self.run.question, self.terms)
        self._reports: dict[str, Report] = {}
        """Of sessions that have finished and are not collected."""
        self._known: set[str] = set()
        """Sessions that this head has started or looked for."""
        self._heard: set[str] = set()
        """Sessions of which their nodes have told this head something."""
        self._began = self._heard_at = self.clock()
        self._where: dict[str, tuple[str, str]] = {}
        """Family and device of sessions that are not over."""
        self._leftover: dict[str, tuple[str, str]] = {}
        """The same of those that are, and that their nodes may still have something of."""
        for event in read(self.place.journal):
            self._taken(event)
        self._journal = Journal(self.place.journal)
        self._parcel = self.place.parcel.read_bytes()
        self._sent = parcels.unpack(self.place.folder / "sent", self.run.question.parcel, self._parcel)
        self._looked = 0.0
        self._rows = Rows(self.place.workspace)

    def close(self) -> None:
        """Let go of nodes and journal."""
        try:
            self._rows.write()
        finally:
            self.nodes.close()
            self._journal.close()

    def until_done(self, *, only_collect: bool = False) -> None:
        """Go on until nothing is left to do, or somebody asks to stop.

        With `only_collect` nothing is started, and what still runs is left to run. CannotHere where no device is used:
        none of those that are known, or none for as long as a node is waited for.
        """
        while not self.place.stop.exists():
            self.step(start=not only_collect)
            if self.scheduler.left == 0 and self._all_asked():
                self._end()
                break
            if only_collect and (self._all_heard() or self.clock() - self._heard_at > QUIET_S):
                break
            time.sleep(self.pace.step_s)
        self._drop()

    def _all_asked(self) -> bool:
        """Return whether there is no other device to wait for, where no session has been asked of any."""
        if self.scheduler.items or self.clock() - self._began >= self.terms.patience_s:
            return True
        return bool(self.scheduler.slots) and not self.scheduler.unused

    def _end(self) -> None:
        """Note that the run has ended, unless there was nothing to ask: then another device may still come."""
        if not self.scheduler.items:
            found = {name: slot.refused or "is gone" for name, slot in self.scheduler.slots.items()}
            why = "; ".join(f"{name}: {why}" for name, why in {**found, **self.scheduler.unused}.items())
            raise CannotHere(f"no device is used: {why or 'no node has said what it has'}")
        self.place.end()

    def _all_heard(self) -> bool:
        """Return whether the devices that answer have told of all that they were given, and have none to collect."""
        here = {name for name, slot in self.scheduler.slots.items() if slot.alive}
        awaited = [*self.scheduler.arriving, *(one for one in self.scheduler.running if one not in self._heard)]
        return not any(self._where[session][1] in here for session in awaited)

    def stop(self) -> None:
        """End what runs; a head after this one goes on with it."""
        self._look()
        for session, item in list(self.scheduler.running.items()):
            try:
                self.nodes.stop(self._work(session), drop=False)
            except NodeFails as error:
                self.say(f"{session}: may still run on {item.device}: {error}")
                continue
            self._note(Ended(at=self.clock(), session=session, outcome="interrupted", why="it was stopped"))

    def step(self, *, start: bool = True) -> None:
        """Look once at everything and do what follows."""
        if self.clock() - self._looked >= self.pace.devices_s:
            self._look()
        self._look_for()
        for report in self.nodes.poll([*self.scheduler.running, *self.scheduler.arriving]):
            self._reported(report)
        self._collect()
        if start:
            for event in self.scheduler.decide(self.clock(), self._name):
                self._journal.note(event)
                self._follow(event)
                self._do(event)

    # What the nodes say.

    def _look(self) -> None:
        """Note which devices answer, and which no more."""
        self._looked = self.clock()
        answering = {device.device: device for device in self.nodes.devices()}
        for name, device in answering.items():
            slot = self.scheduler.slots.get(name)
            refused = self._why_not(device, measures=slot is not None and slot.item is not None)
            if slot is None or not slot.alive or (slot.about, slot.refused) != (device, refused):
                self._note(Seen(at=self.clock(), device=device, refused=refused))
                self.say(f"{name}: {_described(device)}" if refused is None else f"{name}: not used: {refused}")
        for name, slot in self.scheduler.slots.items():
            if slot.alive and name not in answering:
                self._note(Lost(at=self.clock(), device=name))
                self.say(f"{name}: answers no more")
        self._look_at_unused()
        self._drop()

    def _look_at_unused(self) -> None:
        """Note of which nodes no device is known, and say why once."""
        before, unused = dict(self.scheduler.unused), self.nodes.unused()
        for node, why in unused.items():
            if before.get(node) != why:
                self._note(Unused(at=self.clock(), node=node, why=why))
                self.say(f"{node}: not used: {why}")
        for node in before.keys() - unused.keys():
            self._note(Unused(at=self.clock(), node=node, why=None))

    def _why_not(self, device: FleetDevice, *, measures: bool) -> str | None:
        wanted = self.run.question.devices
        if wanted is not None and wanted not in f"{device.device} {device.group}":
            return f"--devices {wanted} leaves it out"
        if device.zmlx != __version__:
            return f"zmlx {device.zmlx} is there and {__version__} here; install the same"
        if device.code != self.code:
            return "its zmlx measures by other code than the one here; install the same"
        # A session takes memory and time, which is no reason to end it.
        return None if measures else "; ".join(device.problems) or None

    def _look_for(self) -> None:
        """Look for the sessions that a head before this one gave to their devices."""
        for session in [*self.scheduler.running, *self.scheduler.arriving]:
            if session not in self._known and self.scheduler.slots[self._where[session][1]].alive:
                try:
                    self.nodes.look(self._work(session))
                    self._known.add(session)
                except NodeFails as error:
                    self.say(f"{session}: {error}")

    def _reported(self, report: Report) -> None:
        item = self.scheduler.running.get(report.session)
        self._heard.add(report.session)
        self._heard_at = self.clock()
        if report.outcome == "finished":
            self._reports[report.session] = report
        if item is None:
            if report.outcome not in (None, "finished") and report.session in self.scheduler.arriving:
                # It had finished, and the node has lost it since.
                self._note(Abandoned(at=self.clock(), session=report.session, why="the node has lost it"))
            return
        if report.begun and not item.begun:
            self._note(Began(at=self.clock(), session=report.session))
        if report.outcome is not None:
            device = self._where[report.session][1]
            self._note(Ended(at=self.clock(), session=report.session, outcome=report.outcome, why=report.why))
            if report.outcome != "finished":
                self.say(f"{report.session} on {device}: {report.outcome}: {report.why}")

    def _collect(self) -> None:
        """Take what has finished."""
        came: list[str] = []
        for session in list(self.scheduler.arriving):
            report, device = self._reports.get(session), self._where[session][1]
            if report is None or not self.scheduler.slots[device].alive:
                continue
            try:
                (self.receive or self._receive)(self._work(session), report, self.nodes)
                came.append(session)
            except NodeFails as error:
                self.say(f"{session}: not collected yet: {error}")
            except Refused as error:
                self._note(Rejected(at=self.clock(), session=session, why=f"{device}: {error}"))
                self.say(f"{session} from {device}: refused: {error}")
        self._rows.came(bool(came))
        for session in came:
            self.say(f"{session} from {self._where[session][1]}: collected")
            self._note(Collected(at=self.clock(), session=session))
            self._heard_at = self.clock()
        if came:
            self._drop()

    def _drop(self) -> None:
        """Have the nodes remove what they have of sessions that are over."""
        for session, (family, device) in list(self._leftover.items()):
            if self.scheduler.slots[device].alive:
                try:
                    self.nodes.stop(self._as_work(session, family, device), drop=True)
                    del self._leftover[session]
                except NodeFails:
                    # It is no evidence, and the next look tries again.
                    continue

    def _receive(self, work: FleetWork, report: Report, nodes: Nodes) -> None:
        receive(
            self.place.workspace,
            self.place.arrivals,
            self._sent,
            work,
            report.files,
            lambda name: nodes.fetch(work.session, name),
        )

    # What is to be done.

    def _do(self, event: FleetEvent) -> None:
        match event:
            case Assigned():
                self.say(f"{event.session} on {event.device}: session {event.number} of {event.family}")
                self._start(event)
            case Abandoned():
                self.say(f"{event.session}: done anew elsewhere: {event.why}")
            case GivenUp():
                self.say(f"given up: session {event.number} of {event.family} on {event.group}: {event.why}")
            case _:
                pass

    def _start(self, event: Assigned) -> None:
        self._known.add(event.session)
        try:
            self.nodes.start(self._work(event.session), self._parcel)
        except NodeFails as error:
            why = f"{event.device}: {error}"
            self._note(Ended(at=self.clock(), session=event.session, outcome="interrupted", why=why))

    def _work(self, session: str) -> FleetWork:
        return self._as_work(session, *self._where[session])

    def _as_work(self, session: str, family: str, device: str) -> FleetWork:
        question = self.run.question
        return FleetWork(
            session=session,
            family=next(one for one in question.families if one.family == family),
            question=question,
            device=self.scheduler.slots[device].about,
            command=self.run.command,
        )

    def _name(self, family: str) -> str:
        while True:
            name = store.new_name(family)
            if not self.scheduler.knows(name) and not self.place.workspace.session(name).exists():
                return name

    def _note(self, event: FleetEvent) -> None:
        """Write down what has happened, then take it."""
        self._journal.note(event)
        self._taken(event)

    def _taken(self, event: FleetEvent) -> None:
        self.scheduler.apply(event)
        self._follow(event)

    def _follow(self, event: FleetEvent) -> None:
        """Keep what the head knows of sessions beside the scheduler."""
        match event:
            case Assigned():
                self._where[event.session] = event.family, event.device
            case Collected() | Rejected() | Abandoned():
                self._forget(event.session)
            case Ended() if not self.scheduler.has(event.session):
                self._forget(event.session)
            case _:
                pass

    def _forget(self, session: str) -> None:
        if session in self._where:
            self._leftover[session] = self._where.pop(session)
        self._reports.pop(session, None)
        self._known.discard(session)
        self._heard.discard(session)


def _described(device: FleetDevice) -> str:
    """Return what kind of device it is, and what is wrong with its processes."""
    if device.nice <= 0:
        return device.group
    remedy = "start them at nice 0 (with Ray: RAY_worker_niceness=0), or measure with nothing else on the machine"
    return f"{device.group}; its sessions run at nice {device.nice}: {remedy}"
