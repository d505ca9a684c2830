"""What the nodes of a Ray cluster say they have: each is asked once, and again after a while where that failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from zmlx_bench.fleet.nodes import NodeFails
from zmlx_bench.fleet.survey import DEVICES
from zmlx_bench.printable import one_line
from zmlx_bench.schema.fleet import FleetDevice

FIRST_S = 90.0
"""For the first look at the nodes: a worker starts on each."""
AGAIN_S = 60.0
"""From an answer that cannot be used to the next asking."""
_WORDS = 500


@dataclass(slots=True)
class _Node:
    """One node and its last answer. Times are of a clock that only goes forward."""

    name: str
    answer: Any
    """Awaited; None once it has come."""
    at: float
    """When it was asked, or when its answer came."""
    devices: list[FleetDevice] = field(default_factory=list)
    why: str | None = None
    """Why none of its devices can be used."""
    again: bool = False
    """Whether another answer may come of asking again."""


class Surveys:
    """The answers of all nodes.

    `ray` waits for what `ask` returned of a node (`wait`, `get`); `again_s` seconds pass before a node is asked again.
    """

    def __init__(
        self,
        ray: Any,
        ask: Callable[[str], Any],
        again_s: float = AGAIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ray, self._ask, self._again_s, self._clock = ray, ask, again_s, clock
        self._nodes: dict[str, _Node] = {}
        """By the id of Ray's node, in the order in which they came."""

    def look(self, alive: Mapping[str, Mapping[str, Any]], busy: Collection[str] = ()) -> None:
        """Take what has been answered, and ask whom there is to ask; the first time, wait until they have answered.

        `alive` is what Ray says of its nodes, by id. Those that are `busy` measure, and are not asked again meanwhile.
        """
        first, now = not self._nodes, self._clock()
        self._nodes = {node: one for node, one in self._nodes.items() if node in alive}
        for node, about in alive.items():
            known = self._nodes.get(node)
            if known is None:
                name = f"{about['NodeManagerHostname']} (Ray node {node[:8]})"
                self._nodes[node] = _Node(name, self._ask(node), now)
            elif known.answer is None and known.again and node not in busy and now - known.at >= self._again_s:
                known.answer, known.at = self._ask(node), now
        awaited = {one.answer: node for node, one in self._nodes.items() if one.answer is not None}
        if awaited:
            ready, _ = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=FIRST_S if first else 0)
            for answer in ready:
                self._heard(self._nodes[awaited[answer]], answer, alive[awaited[answer]]["Resources"])

    def found(self) -> list[tuple[str, FleetDevice]]:
        """Return the devices, each with its node's id; of two of one name the one that was there first."""
        by_name: dict[str, tuple[str, FleetDevice]] = {}
        for node, one in self._nodes.items():
            for device in one.devices:
                by_name.setdefault(device.device, (node, device))
        return list(by_name.values())

    def unused(self) -> dict[str, str]:
        """Return the nodes of which no device is known, each with the reason and whether it is asked again."""
        used = {node for node, _ in self.found()}
        return {one.name: why for node, one in self._nodes.items() if node not in used and (why := self._why(one))}

    def _why(self, one: _Node) -> str | None:
        if one.devices:
            return f"{one.devices[0].device} is another node's; give each a ZMLX_FLEET_HOST of its own"
        if one.why is not None:
            return f"{one.why}; asked again every {self._again_s:g} s" if one.again else one.why
        return "has not said its devices yet" if self._clock() - one.at >= FIRST_S else None

    def _heard(self, one: _Node, answer: Any, resources: Mapping[str, float]) -> None:
        one.answer, one.at, one.devices, one.why, one.again = None, self._clock(), [], None, False
        try:
            devices = DEVICES.validate_json(self._ray.get(answer))
            if not devices:
                raise NodeFails("says that it has no device")
        except Exception as error:  # noqa: BLE001  whatever a node's own code raises
            cause = getattr(error, "cause", None) or error
            hint = "" if isinstance(cause, NodeFails) else "; is the same zmlx-bench[fleet] installed there?"
            one.why, one.again = f"{one_line(str(cause))[:_WORDS] or type(cause).__name__}{hint}", True
            return
        # What is wrong with a node may pass, and it is not used until then.
        one.again = any(device.problems for device in devices)
        if all(device.machine.backend == "cuda" for device in devices):
            # Ray chooses among the node's GPUs; each is one of its kind.
            one.devices = [each.model_copy(update={"select": {}}) for each in devices[: int(resources.get("GPU", 0))]]
            one.why = None if one.devices else "its Ray was started without GPUs, which a session takes"
        elif resources.get("CPU", 0) < 1:
            one.why, one.again = "its Ray was started without CPUs, which a session takes", False
        else:
            one.devices = devices
