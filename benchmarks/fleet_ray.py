"""What the head of a fleet costs with a real Ray beside it: one node of this machine with eight workers at a time.

Ray, its workers, what travels between them and the head, scheduler and journal are the real ones. The devices are not
there, and a session is a script in its worker: it measures nothing for some seconds, then gives files of the size of a
session's, which are fetched and not looked at. One line a figure:
    python benchmarks/fleet_ray.py [SESSIONS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from tests.fleet.cluster import Cluster
from tests.fleet.scripted import CODE, Collected, device, place_of
from zmlx_bench.fleet import on_ray
from zmlx_bench.fleet.head import Head, Pace
from zmlx_bench.fleet.nodes import Nodes, Report
from zmlx_bench.fleet.survey import DEVICES
from zmlx_bench.schema.fleet import FleetWork

WORKERS, FAMILIES, SESSIONS = 8, 10, 80
TAKES_S = 5.0
FILES = {"session.json": 60_000, "capsule.json": 120_000}


def devices() -> str:
    """Return one device for each worker, of a host and a kind of its own: none waits for another's sessions."""
    made = [device(f"made-{number}", kind=f"Made GPU {number}") for number in range(WORKERS)]
    cuda = [one.model_copy(update={"machine": one.machine.model_copy(update={"backend": "cuda"})}) for one in made]
    return DEVICES.dump_json(cuda, exclude_none=True).decode()


def standing(work: str) -> dict[str, Any]:
    """Return that nothing is left of a session whose worker is gone."""
    return asdict(Report(FleetWork.model_validate_json(work).session, outcome="interrupted", why="its worker is gone"))


def fetch(_work: str, name: str) -> bytes:
    """Return a file of that name."""
    return bytes(FILES[name])


def drop(_work: str) -> None:
    """Keep nothing."""


class Keeper:
    """A session that measures nothing for a while."""

    def __init__(self) -> None:
        self._session, self._until = "", 0.0

    def begin(self, work: str, _parcel: bytes) -> None:
        """Begin it."""
        self._session, self._until = FleetWork.model_validate_json(work).session, time.monotonic() + TAKES_S

    def report(self) -> dict[str, Any] | None:
        """Return how it stands."""
        if not self._session:
            return None
        over = time.monotonic() >= self._until
        return asdict(Report(self._session, True, "finished" if over else None, files=FILES if over else {}))

    def fetch(self, work: str, name: str) -> bytes:
        """Return a file."""
        return fetch(work, name)

    def leave(self, _work: str) -> None:
        """End this worker."""
        sys.exit(0)

    def stop(self) -> None:
        """Nothing runs."""


@dataclass
class Spent:
    """CPU seconds of the head's own thread, in Ray's calls and in all."""

    ray_s: float = 0.0
    all_s: float = 0.0

    def within(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, whose time is counted as Ray's."""

        def counted(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                self.ray_s += time.thread_time() - began

        return counted


@dataclass
class Taking:
    """Fetches what has come, and counts it."""

    collected: Collected = field(default_factory=Collected)

    def __call__(self, work: FleetWork, report: Report, nodes: Nodes) -> None:
        """Take a session."""
        for name, size in report.files.items():
            assert len(nodes.fetch(work.session, name)) == size
        self.collected(work)


def main() -> None:
    """Start a Ray, have all sessions done, and say what they cost."""
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else SESSIONS
    each = max(1, round(asked / WORKERS / FAMILIES))
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(size=1, resources=("--num-cpus=1", f"--num-gpus={WORKERS}"))
        try:
            cluster.up()
            os.environ.update(cluster.env("head"))
            on_ray.ray_node = sys.modules[__name__]
            _measured(Path(folder), on_ray.OnRay(cluster.address), each)
        finally:
            cluster.down()


def _measured(folder: Path, nodes: on_ray.OnRay, each: int) -> None:
    spent, taking, me = Spent(), Taking(), psutil.Process()
    for name in ("devices", "start", "look", "poll", "fetch", "stop"):
        setattr(nodes, name, spent.within(getattr(nodes, name)))
    place = place_of(folder, *(f"family{number}" for number in range(FAMILIES)), sessions=each, gap_s=0.0)
    head = Head(place, nodes, CODE, lambda _: None, pace=Pace(), receive=taking)
    while not head.scheduler.slots:
        head.step(start=False)
    total, half, most = head.scheduler.left, None, 0
    spent.ray_s, process, began = 0.0, time.process_time(), time.monotonic()
    while head.scheduler.left:
        before = time.thread_time()
        head.step()
        spent.all_s += time.thread_time() - before
        most = max(most, len(head.scheduler.running))
        if half is None and len(taking.collected.sessions) >= total / 2:
            half = len(taking.collected.sessions), spent.all_s, me.memory_info().rss
        time.sleep(head.pace.step_s)
    process, took = time.process_time() - process, time.monotonic() - began
    head.close()
    assert half is not None
    done = len(taking.collected.sessions)
    assert done == total
    print(f"{done} sessions in {took:.0f} s, at most {most} at a time")
    own, ray = 1000 * spent.all_s / done, 1000 * spent.ray_s / done
    print(f"{own:.1f} ms of CPU of the head's thread a session, {ray:.1f} ms of it in Ray")
    print(f"{1000 * process / done:.1f} ms of CPU a session with the threads that Ray runs in the head's process")
    early, late = 1000 * half[1] / half[0], 1000 * (spent.all_s - half[1]) / (done - half[0])
    print(f"first half: {early:.1f} ms, second half: {late:.1f} ms a session; {late / early:.2f} times")
    print(f"resident: {half[2] / 1e6:.0f} MB after half, {me.memory_info().rss / 1e6:.0f} MB at the end")


if __name__ == "__main__":
    main()
