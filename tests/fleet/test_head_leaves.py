"""What `collect` and `stop` do is done before the head leaves, and a run that asks no device is no success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fleet.scripted import CODE, Clock, Collected, Scripted, device, head_of, place_of
from zmlx_bench.errors import CannotHere
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.head import Head, Pace
from zmlx_bench.fleet.nodes import NodeFails, Report
from zmlx_bench.schema.fleet import FleetDevice, FleetWork


@dataclass
class FarAway(Scripted):
    """Nodes as a cluster has them: reached once they were asked for devices, and an answer takes some looks."""

    asked: bool = False
    busy: str = ""
    """The session that a node does not end."""
    silent: int = 0
    """Looks without an answer that are left."""
    stopped: list[str] = field(default_factory=list)

    def devices(self) -> Sequence[FleetDevice]:
        self.asked = True
        return super().devices()

    def poll(self, sessions: Sequence[str]) -> Sequence[Report]:
        self.silent -= 1
        self.clock.now += 1
        return [] if self.silent >= 0 else super().poll(sessions)

    def stop(self, work: FleetWork, *, drop: bool) -> None:
        if not self.asked or work.device.device not in self.there:
            raise NodeFails("does not answer")
        if work.session == self.busy:
            raise NodeFails("is busy")
        self.stopped.append(work.session)
        super().stop(work, drop=drop)


def begun(root: Path, nodes: FarAway, *families: str) -> tuple[journal.Place, list[str]]:
    """Return a run that its head has left, and the sessions that go on without it."""
    place = place_of(root, *families, sessions=1)
    head = head_of(place, nodes, Collected())
    head.step()
    head.close()
    nodes.asked = False
    return place, [session for session, _ in nodes.started]


def test_a_head_that_comes_to_stop_reaches_what_another_had_started(tmp_path: Path) -> None:
    nodes = FarAway(Clock())
    nodes.add(device("a"))
    place, (session,) = begun(tmp_path, nodes)
    place.stop.touch()
    head = head_of(place, nodes, Collected())
    head.until_done(only_collect=True)
    head.stop()
    assert nodes.stopped == [session]
    assert nodes.running == {}
    assert head.scheduler.running == {}
    head.close()


def test_what_could_not_be_stopped_is_not_said_to_have_been(tmp_path: Path) -> None:
    said: list[str] = []
    nodes = FarAway(Clock())
    nodes.add(device("a"))
    place, (session,) = begun(tmp_path, nodes)
    head = head_of(place, nodes, Collected())
    head.say = said.append
    nodes.busy = session
    head.stop()
    head.close()
    assert list(head.scheduler.running) == [session]
    assert said == [f"{session}: may still run on a/cpu-0: is busy"]


def test_collecting_waits_for_the_answers_of_nodes(tmp_path: Path) -> None:
    nodes, collected = FarAway(Clock()), Collected()
    nodes.add(device("a"), device("b"))
    place, (first, second) = begun(tmp_path, nodes, "qwen3", "glm47")
    del nodes.running[first]
    nodes.finished.add(first)
    nodes.silent = 5
    head = head_of(place, nodes, collected)
    head.until_done(only_collect=True)
    head.close()
    assert collected.sessions == [first]
    assert list(head.scheduler.running) == [second]


@pytest.mark.parametrize("gone", [False, True])
def test_collecting_ends_where_nothing_comes(tmp_path: Path, gone: bool) -> None:
    """A node that does not answer is waited for a while; one that is gone is not."""
    nodes, collected = FarAway(Clock()), Collected()
    nodes.add(device("a"))
    place, _ = begun(tmp_path, nodes)
    nodes.silent = 10_000
    if gone:
        nodes.lose("a/cpu-0")
    head, began = head_of(place, nodes, collected), nodes.clock.now
    head.until_done(only_collect=True)
    head.close()
    assert (nodes.clock.now - began < 10) is gone
    assert nodes.clock.now - began < 200


def test_where_no_device_is_used_the_reasons_are_told_and_the_run_has_not_ended(tmp_path: Path) -> None:
    nodes = FarAway(Clock())
    nodes.add(device("a"), device("b", zmlx="0.0.0"))
    place = place_of(tmp_path, devices="nothing")
    head = head_of(place, nodes, Collected())
    with pytest.raises(CannotHere, match=r"no device is used: a/cpu-0: --devices nothing leaves it out; b/cpu-0: "):
        head.until_done()
    head.close()
    assert not place.over


def test_a_device_is_judged_by_the_head_of_now(tmp_path: Path) -> None:
    nodes = FarAway(Clock())
    nodes.add(device("a"))
    place = place_of(tmp_path, sessions=1)
    head = Head(place, nodes, "d" * 64, lambda _: None, pace=Pace(0.0, 0.0), clock=nodes.clock, receive=Collected())
    head.step()
    head.close()
    assert "other code" in (head.scheduler.slots["a/cpu-0"].refused or "")
    assert nodes.there["a/cpu-0"].code == CODE
    head = head_of(place, nodes, Collected())
    head.step()
    head.close()
    assert head.scheduler.slots["a/cpu-0"].refused is None
    assert [name for _, name in nodes.started] == ["a/cpu-0"]


def test_the_place_remembers_where_the_last_head_reached_its_nodes(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    before = place.run()
    place.reached_at("10.0.0.1:6379")
    assert journal.newest(place.workspace).run() == before.model_copy(update={"address": "10.0.0.1:6379"})
