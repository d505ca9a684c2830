"""Which nodes of a cluster are asked what they have, and when again; Ray's answers are written down here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fleet.scripted import device
from zmlx_bench.fleet.nodes import NodeFails
from zmlx_bench.fleet.survey import DEVICES
from zmlx_bench.fleet.surveys import FIRST_S, Surveys
from zmlx_bench.schema.fleet import FleetDevice

AGAIN_S = 60.0


@dataclass
class Answers:
    """What each node answers, one after the other, and Ray's calls that give it."""

    given: dict[str, list[list[FleetDevice] | Exception | None]]
    """None is no answer."""
    asked: list[str] = field(default_factory=list)
    now: float = 0.0

    def ask(self, node: str) -> tuple[str, int]:
        self.asked.append(node)
        return node, self.asked.count(node) - 1

    def _of(self, ref: tuple[str, int]) -> list[FleetDevice] | Exception | None:
        node, number = ref
        return self.given[node][min(number, len(self.given[node]) - 1)]

    def wait(self, refs: Sequence[tuple[str, int]], **_: object) -> tuple[list[Any], list[Any]]:
        ready = [ref for ref in refs if self._of(ref) is not None]
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: tuple[str, int]) -> bytes:
        said = self._of(ref)
        if isinstance(said, Exception):
            raise said
        return DEVICES.dump_json(said or [])


class Play:
    """Surveys of nodes, each with the resources that its Ray has."""

    def __init__(self, *given: list[list[FleetDevice] | Exception | None], **resources: float) -> None:
        self.answers = Answers({f"node{number}": one for number, one in enumerate(given)})
        self.surveys = Surveys(self.answers, self.answers.ask, AGAIN_S, lambda: self.answers.now)
        about = {"NodeManagerHostname": "rack", "Resources": {"CPU": 2.0, **resources}}
        self.alive = dict.fromkeys(self.answers.given, about)

    def later(self, seconds: float, busy: Sequence[str] = ()) -> list[str]:
        self.answers.now += seconds
        self.surveys.look(self.alive, busy)
        return [one.device for _, one in self.surveys.found()]


def test_a_node_that_failed_is_asked_again_after_a_while() -> None:
    play = Play([NodeFails("no room"), NodeFails("its driver is gone"), [device("a")]], [[device("b")]])
    assert play.later(0) == ["b/cpu-0"]
    assert play.surveys.unused() == {"rack (Ray node node0)": "no room; asked again every 60 s"}
    play.later(AGAIN_S - 1)
    assert play.answers.asked == ["node0", "node1"]
    play.later(1)
    assert play.surveys.unused() == {"rack (Ray node node0)": "its driver is gone; asked again every 60 s"}
    assert play.later(AGAIN_S) == ["a/cpu-0", "b/cpu-0"]
    assert play.surveys.unused() == {}
    for _ in range(5):
        play.later(AGAIN_S)
    assert play.answers.asked == ["node0", "node1", "node0", "node0"], "who has answered is left alone"


def test_whatever_a_nodes_own_code_raises_is_said() -> None:
    play = Play([ModuleNotFoundError("No module named 'zmlx_bench'")], [[]])
    assert play.later(0) == []
    assert [*play.surveys.unused().values()] == [
        "No module named 'zmlx_bench'; is the same zmlx-bench[fleet] installed there?; asked again every 60 s",
        "says that it has no device; asked again every 60 s",
    ]


def test_what_is_wrong_with_a_node_may_pass_but_nobody_asks_while_it_measures() -> None:
    play = Play([[device("a", problems=("memory: 0.1 GB free",))], [device("a")]])
    play.later(0)
    for _ in range(3):
        play.later(AGAIN_S, busy=["node0"])
    assert play.answers.asked == ["node0"]
    play.later(1)
    assert [one.problems for _, one in play.surveys.found()] == [()]


@pytest.mark.parametrize(
    ("backend", "resources", "why"),
    [
        ("cpu", {"CPU": 0.0}, "its Ray was started without CPUs, which a session takes"),
        ("cuda", {"GPU": 0.0}, "its Ray was started without GPUs, which a session takes"),
    ],
)
def test_a_ray_without_resources_has_none_later(backend: str, resources: dict[str, float], why: str) -> None:
    one = device("a")
    one = one.model_copy(update={"machine": one.machine.model_copy(update={"backend": backend})})
    play = Play([[one]], **resources)
    assert play.later(0) == []
    assert play.later(10 * AGAIN_S) == []
    assert [*play.surveys.unused().values()] == [why]
    assert play.answers.asked == ["node0"]


def test_a_node_that_does_not_answer_is_not_asked_twice_at_once() -> None:
    play = Play([None])
    play.later(0)
    assert play.surveys.unused() == {}
    play.later(FIRST_S + AGAIN_S)
    assert [*play.surveys.unused().values()] == ["has not said its devices yet"]
    assert play.answers.asked == ["node0"]


def test_of_two_nodes_of_one_name_the_first_stays_the_one_that_is_meant() -> None:
    play = Play([[device("a")]], [[device("a")]])
    assert play.later(0) == ["a/cpu-0"]
    (why,) = play.surveys.unused().values()
    assert why == "a/cpu-0 is another node's; give each a ZMLX_FLEET_HOST of its own"
    play.alive = dict(reversed(play.alive.items()))
    play.later(1)
    assert [node for node, _ in play.surveys.found()] == ["node0"]


def test_a_node_that_is_gone_is_forgotten_and_asked_when_it_is_back() -> None:
    play = Play([NodeFails("no room"), [device("a")]])
    play.later(0)
    (about,) = play.alive.values()
    play.alive = {}
    play.later(1)
    assert play.surveys.unused() == {}
    play.alive = {"node0": about}
    assert play.later(1) == ["a/cpu-0"]
