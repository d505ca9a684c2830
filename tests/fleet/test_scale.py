"""The head's work grows neither with what has been collected nor with what waits: counted in calls, not in time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from tests.fleet.scripted import Clock, Collected, Scripted, device, head_of, place_of
from zmlx_bench.fleet import head as head_module
from zmlx_bench.fleet import openings, scheduler

COUNTED = {Path(module.__file__ or "").name for module in (head_module, openings, scheduler)}


class Calls:
    """How many functions of the head were called so far."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.rpartition("/")[2] in COUNTED:
            self.count += 1


@contextmanager
def counted() -> Iterator[Calls]:
    calls, before = Calls(), sys.getprofile()
    sys.setprofile(calls.note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def calls_at(root: Path, *, kinds: int, families: int, sessions: int = 2) -> list[int]:
    """Return how many calls there had been when each session was collected."""
    nodes, collected = Scripted(Clock(), takes_s=100), Collected()
    nodes.add(*(device(f"h{k}-{n}", kind=f"Made GPU {k}") for k in range(kinds) for n in range(2)))
    names = [f"family{number}" for number in range(families)]
    head = head_of(place_of(root, *names, sessions=sessions, gap_s=100.0), nodes, collected)
    at: list[int] = []
    with counted() as calls:
        while head.scheduler.left or not head.scheduler.slots:
            head.step()
            nodes.clock.now += 100
            at += [calls.count] * (len(collected.sessions) - len(at))
    head.close()
    return at


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    return calls_at(tmp_path_factory.mktemp("base") / "ws", kinds=3, families=8)


def test_the_last_sessions_cost_what_the_first_did(base: list[int]) -> None:
    assert len(base) == 48
    early, late = (base[23] - base[5]) / 18, (base[-1] - base[-19]) / 18
    assert late <= 1.2 * early


def test_four_times_as_many_that_wait_cost_no_more_each(base: list[int], tmp_path: Path) -> None:
    more = calls_at(tmp_path / "ws", kinds=3, families=32)
    assert more[-1] / len(more) <= 1.2 * base[-1] / len(base)


def test_four_times_as_many_devices_cost_no_more_each(base: list[int], tmp_path: Path) -> None:
    more = calls_at(tmp_path / "ws", kinds=12, families=8)
    assert more[-1] / len(more) <= 1.2 * base[-1] / len(base)
