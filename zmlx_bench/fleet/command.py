"""What the commands of `zmlx fleet` do."""

from __future__ import annotations

import time

from zmlx_bench.errors import CannotHere
from zmlx_bench.fleet import journal, parcel, survey
from zmlx_bench.fleet.ask import Asked, question_of
from zmlx_bench.fleet.head import Head, Pace, Say
from zmlx_bench.fleet.items import Terms
from zmlx_bench.fleet.journal import Place
from zmlx_bench.fleet.local import Local
from zmlx_bench.fleet.nodes import NodeFails, Nodes
from zmlx_bench.fleet.on_ray import OnRay
from zmlx_bench.schema.fleet import LOCAL
from zmlx_bench.workspace import Workspace

_STOPS_S = 120.0


def connect(address: str | None, pace: Pace) -> Nodes:
    """Return the nodes at an address; CannotHere where they cannot be had."""
    return Local() if address == LOCAL else OnRay(address, pace.ask_again_s)


def run(
    workspace: Workspace,
    asked: Asked,
    address: str | None,
    say: Say,
    command: tuple[str, ...] = (),
    terms: Terms | None = None,
    pace: Pace | None = None,
) -> Place:
    """Have a question answered, or go on with it where an earlier head left it; return the run's place."""
    data = parcel.pack(workspace)
    question = question_of(workspace, asked, data)
    pace = pace or Pace()
    nodes = connect(address, pace)
    place, again = journal.begin(workspace, question, data, time.time(), address=address, command=command)
    with place.alone():
        say(f"fleet run {place.folder.name}{' goes on' if again else ''}")
        place.stop.unlink(missing_ok=True)
        place.reached_at(address)
        _headed(place, nodes, say, terms or Terms(), pace, only_collect=False)
    return place


def collect(place: Place, address: str | None, say: Say) -> None:
    """Bring in what has finished; nothing is started."""
    with place.alone():
        place.stop.unlink(missing_ok=True)
        pace = Pace()
        _headed(place, connect(address or place.run().address, pace), say, Terms(), pace, only_collect=True)


def stop(place: Place, address: str | None, say: Say) -> None:
    """End what runs; the command that began the run goes on with it."""
    if place.headed():
        place.stop.touch()
        say("the head was asked to leave")
        deadline = time.monotonic() + _STOPS_S
        while place.headed():
            if time.monotonic() > deadline:
                raise CannotHere(f"{place.folder}: its head has not left within {_STOPS_S:g} s; end that process")
            time.sleep(0.2)
        place.stop.unlink(missing_ok=True)
        return
    address = address or place.run().address
    if address in (None, LOCAL):
        say("no head is at it, and nothing runs without one")
        return
    with place.alone():
        place.stop.touch()
        pace = Pace()
        _headed(place, connect(address, pace), say, Terms(), pace, only_collect=True)
        place.stop.unlink()


def _headed(place: Place, nodes: Nodes, say: Say, terms: Terms, pace: Pace, *, only_collect: bool) -> None:
    head = Head(place, nodes, survey.code(), say, terms, pace)
    try:
        head.until_done(only_collect=only_collect)
        if place.stop.exists():
            head.stop()
    except NodeFails as error:
        raise CannotHere(str(error)) from None
    finally:
        head.close()
