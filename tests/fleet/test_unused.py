"""A node that cannot say what it has: the reason is told once, nothing is given to it, and it is used once it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fleet.scripted import START, Clock, Collected, Scripted, device, head_of, place_of, work_off
from zmlx_bench.errors import CannotHere
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.items import Terms
from zmlx_bench.fleet.journal import Place
from zmlx_bench.fleet.nodes import Report
from zmlx_bench.fleet.show import lines, standing, summary
from zmlx_bench.schema.fleet import Assigned, Seen, Unused

WHY = "its devices are not known; asked again every 60 s"


@dataclass
class Passing(Scripted):
    """Nodes beside which time passes at each look."""

    def poll(self, sessions: Sequence[str]) -> Sequence[Report]:
        self.clock.now += 10
        return super().poll(sessions)


def shown(place: Place) -> list[str]:
    return list(lines(place.run(), standing(place), START, headed=True, over=False))


def test_its_reason_is_said_once_and_it_is_used_once_it_answers(tmp_path: Path) -> None:
    said: list[str] = []
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"))
    nodes.failing["b"] = WHY
    place = place_of(tmp_path)
    head = head_of(place, nodes, collected)
    head.say = said.append
    for _ in range(3):
        head.step()
    assert [line for line in said if line.startswith("b:")] == [f"b: not used: {WHY}"]
    assert f"  b: not used: {WHY}" in shown(place)
    assert summary(place.run(), standing(place), headed=True, over=False)["unused"] == [{"node": "b", "why": WHY}]
    nodes.failing["b"] = "its driver is gone; asked again every 60 s"
    head.step()
    head.close()

    head = head_of(place, nodes, collected)
    head.say = said.append
    head.step()
    assert [line for line in said if line.startswith("b:")][1:] == [f"b: not used: {nodes.failing['b']}"]
    assert {one.device for one in journal.read(place.journal) if isinstance(one, Assigned)} == {"a/cpu-0"}
    del nodes.failing["b"]
    nodes.add(device("b", kind="Other"))
    work_off(head, nodes)
    head.close()
    assert "b/cpu-0: free" in "\n".join(shown(place))
    assert "  b: not used" not in "\n".join(shown(place))
    assert {name for _, name in nodes.started} == {"a/cpu-0", "b/cpu-0"}
    assert [one.why for one in journal.read(place.journal) if isinstance(one, Unused)] == [
        WHY, "its driver is gone; asked again every 60 s", None,
    ]  # fmt: skip


def test_a_node_that_fails_when_it_is_back_goes_on_once_it_answers(tmp_path: Path) -> None:
    nodes, collected = Scripted(Clock()), Collected()
    one = device("a")
    nodes.add(one)
    head = head_of(place_of(tmp_path, sessions=1), nodes, collected)
    head.step()
    (session,) = head.scheduler.running
    nodes.lose(one.device)
    nodes.failing["a"] = WHY
    for _ in range(10):
        head.step()
        nodes.clock.now += 60
    assert nodes.started == [(session, one.device)]
    nodes.add(one)
    nodes.failing.clear()
    work_off(head, nodes)
    head.close()
    assert nodes.started == [(session, one.device)] * 2
    assert collected.sessions == [session]


def test_sessions_of_a_node_that_goes_on_failing_are_given_up(tmp_path: Path) -> None:
    nodes = Scripted(Clock())
    nodes.add(device("a"))
    head = head_of(place_of(tmp_path), nodes, Collected())
    head.step()
    nodes.lose("a/cpu-0")
    nodes.failing["a"] = WHY
    work_off(head, nodes)
    head.close()
    assert [item.state for item in head.scheduler.items.values()] == ["given up"] * 2
    assert Terms().patience_s <= nodes.clock.now - START < Terms().patience_s + 300


@pytest.mark.parametrize("refused", [True, False], ids=["beside one that is refused", "alone"])
def test_a_run_whose_nodes_all_fail_waits_then_ends_with_the_reasons(tmp_path: Path, refused: bool) -> None:
    nodes = Passing(Clock())
    nodes.failing["b"] = WHY
    if refused:
        nodes.add(device("a", zmlx="9.9"))
    place = place_of(tmp_path)
    head = head_of(place, nodes, Collected(), Terms(patience_s=300))
    with pytest.raises(CannotHere, match=f"no device is used: .*b: {WHY}") as ended:
        head.until_done()
    head.close()
    assert ("a/cpu-0: zmlx 9.9 is there" in str(ended.value)) == refused
    assert nodes.clock.now - START == 300
    assert not place.over, "the same command goes on"


def test_a_run_without_any_node_ends_too(tmp_path: Path) -> None:
    nodes = Passing(Clock())
    head = head_of(place_of(tmp_path), nodes, Collected(), Terms(patience_s=300))
    with pytest.raises(CannotHere, match="no device is used: no node has said what it has"):
        head.until_done()
    head.close()


def test_what_a_running_session_makes_of_its_device_does_not_end_it(tmp_path: Path) -> None:
    """A head that comes while a large model runs finds a node without free memory."""
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"))
    place = place_of(tmp_path, sessions=1)
    head = head_of(place, nodes, collected)
    head.step()
    head.close()
    nodes.add(device("a", problems=("memory: 0.1 GB free",)))
    head = head_of(place, nodes, collected)
    work_off(head, nodes)
    head.close()
    assert len(nodes.started) == 1
    assert collected.sessions == [nodes.started[0][0]]
    assert [one.refused for one in journal.read(place.journal) if isinstance(one, Seen)][:2] == [None, None]
