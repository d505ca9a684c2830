"""Nodes that follow a script in this process, and devices that there are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zmlx_bench import __version__
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.head import Head, Pace
from zmlx_bench.fleet.items import Terms
from zmlx_bench.fleet.journal import Place
from zmlx_bench.fleet.nodes import NodeFails, Report
from zmlx_bench.fleet.parcel import hash_of, pack
from zmlx_bench.schema.fleet import FleetDevice, FleetFamily, FleetQuestion, FleetWork, Outcome
from zmlx_bench.schema.machine import Machine
from zmlx_bench.workspace import Workspace

CODE = "c" * 64
START = 1_900_000_000.0


def device(host: str, number: int = 0, kind: str = "Made GPU", **other: object) -> FleetDevice:
    """Return a device of a host."""
    machine = Machine(device=kind, backend="cpu", os="Made 1", arch="made", cores=2)
    given = {"mlx": "0.0.1", "mlx_lm": "0.0.2", "zmlx": __version__, "code": CODE, **other}
    return FleetDevice(device=f"{host}/cpu-{number}", host=host, machine=machine, **given)  # type: ignore[arg-type]


def question(*families: str, parcel: str = "a" * 64, **other: object) -> FleetQuestion:
    """Return a question about families."""
    plain = {
        "families": tuple(FleetFamily(family=name, variants=None) for name in families or ("qwen3",)),
        "sessions": 2, "per_host": 1, "devices": None, "tokens": (4,), "runs": 1, "checkpoint": "tiny",
        "null_arm": False, "seed": 0, "timeout_s": None, "prompts": None, "gap_s": 3600.0, "parcel": parcel,
    }  # fmt: skip
    return FleetQuestion(**{**plain, **other})  # type: ignore[arg-type]


@dataclass
class Clock:
    """Time that passes when it is told to."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Scripted:
    """Nodes whose sessions take some time by the clock and end as a script says."""

    clock: Clock
    there: dict[str, FleetDevice] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    """Nodes that cannot say what they have, and why."""
    takes_s: float = 600.0
    ends: Callable[[FleetWork, int], Outcome] = lambda _work, _time: "finished"
    """How a session ends, by how often it was started."""
    started: list[tuple[str, str]] = field(default_factory=list)
    """Session and device, each time."""
    held: dict[str, str] = field(default_factory=dict)
    """Sessions that a node has something of, by device."""
    running: dict[str, tuple[FleetWork, float]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    said: dict[str, Report] = field(default_factory=dict)

    def add(self, *devices: FleetDevice) -> None:
        self.there.update({one.device: one for one in devices})

    def lose(self, name: str) -> None:
        """A node is gone, with what runs on it."""
        del self.there[name]
        for session, (work, _) in list(self.running.items()):
            if work.device.device == name:
                del self.running[session]

    def devices(self) -> Sequence[FleetDevice]:
        return list(self.there.values())

    def unused(self) -> Mapping[str, str]:
        return dict(self.failing)

    def start(self, work: FleetWork, parcel: bytes) -> None:
        assert hash_of(parcel) == work.question.parcel
        name = work.device.device
        if name not in self.there:
            raise NodeFails("does not answer")
        others = [session for session, (one, _) in self.running.items() if one.device.device == name]
        assert others in ([], [work.session]), "a device measures one session"
        self.said.pop(work.session, None)
        if work.session not in self.running:
            self.started.append((work.session, name))
            self.running[work.session] = work, self.clock() + self.takes_s
            self.held[work.session] = name

    def look(self, work: FleetWork) -> None:
        if work.session not in self.running:
            ended: Outcome = "finished" if work.session in self.finished else "interrupted"
            self.said[work.session] = Report(work.session, begun=True, outcome=ended, files={"session.json": 1})

    def poll(self, sessions: Sequence[str]) -> Sequence[Report]:
        found: list[Report] = []
        for session in sessions:
            if session in self.said:
                found.append(self.said.pop(session))
            elif session in self.running:
                work, until = self.running[session]
                if self.clock() < until:
                    found.append(Report(session, begun=True))
                    continue
                del self.running[session]
                outcome = self.ends(work, sum(one == session for one, _ in self.started))
                if outcome == "finished":
                    self.finished.add(session)
                begun = outcome not in ("taken", "refused")
                why = "" if outcome == "finished" else f"as the script says: {outcome}"
                found.append(Report(session, begun=begun, outcome=outcome, why=why, files={"session.json": 1}))
        return found

    def fetch(self, session: str, name: str) -> bytes:
        raise NodeFails(f"{session} {name}")

    def stop(self, work: FleetWork, *, drop: bool) -> None:
        self.running.pop(work.session, None)
        if drop:
            self.held.pop(work.session, None)

    def close(self) -> None:
        pass


class Collected:
    """Takes what comes, and holds that nothing comes twice."""

    def __init__(self) -> None:
        self.sessions: list[str] = []

    def __call__(self, work: FleetWork, *_: object) -> None:
        if work.session not in self.sessions:
            self.sessions.append(work.session)


def place_of(root: Path, *families: str, **other: object) -> Place:
    """Return a run that has just begun, in a workspace with nothing in it."""
    workspace = Workspace(root)
    for folder in (workspace.variants, workspace.kernels, workspace.capsules):
        folder.mkdir(parents=True, exist_ok=True)
    data = pack(workspace)
    place, _ = journal.begin(workspace, question(*families, parcel=hash_of(data), **other), data, START)
    return place


def head_of(place: Place, nodes: Scripted, collected: Collected, terms: Terms | None = None) -> Head:
    """Return a head that looks at its devices in every step."""
    return Head(
        place, nodes, CODE, lambda _: None, terms or Terms(), Pace(step_s=0.0, devices_s=0.0),
        clock=nodes.clock, receive=collected,
    )  # fmt: skip


def work_off(head: Head, nodes: Scripted, step_s: float = 60.0, most: int = 2000) -> None:
    """Let time pass until nothing is left to do."""
    for _ in range(most):
        head.step()
        if head.scheduler.left == 0 and head.scheduler.slots:
            return
        nodes.clock.now += step_s
    raise AssertionError("it does not come to its end")
