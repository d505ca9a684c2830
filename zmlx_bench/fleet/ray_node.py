"""What runs in Ray's workers on a node: functions and a class that `on_ray` hands to Ray, which this does not import.

What they take and give is text and bytes.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from zmlx_bench.fleet import site
from zmlx_bench.fleet.nodes import NodeFails, Report
from zmlx_bench.fleet.survey import DEVICES
from zmlx_bench.schema.fleet import FleetWork


def devices() -> str:
    """Return the node's devices as JSON; NodeFails where it has none."""
    env = site.environment()
    # Of a task without a GPU Ray hides them all.
    env.pop("CUDA_VISIBLE_DEVICES", None)
    return DEVICES.dump_json(site.survey(env), exclude_none=True).decode()


def standing(work: str) -> dict[str, Any]:
    """Return how a session stands whose process is gone."""
    told = FleetWork.model_validate_json(work)
    return asdict(site.standing(site.workspace_of(told), told.session))


def fetch(work: str, name: str) -> bytes:
    """Return a file of a finished session."""
    told = FleetWork.model_validate_json(work)
    return site.fetch(site.workspace_of(told), told.session, name)


def drop(work: str) -> None:
    """Remove what the node has of a session."""
    told = FleetWork.model_validate_json(work)
    site.drop(site.workspace_of(told), told.session)


class Keeper:
    """An actor that has the device's resources for as long as its session runs; the session ends with it."""

    def __init__(self) -> None:
        self._running: site.Running | None = None
        self._refused: Report | None = None

    def begin(self, work: str, parcel: bytes) -> None:
        """Start the session's process, unless it runs."""
        told = FleetWork.model_validate_json(work)
        if self._running is not None and self._running.report().outcome is None:
            return
        try:
            self._running, self._refused = site.Running(told, parcel, site.environment()), None
        except NodeFails as error:
            self._running, self._refused = None, Report(told.session, outcome="interrupted", why=str(error))

    def report(self) -> dict[str, Any] | None:
        """Return how the session stands; None before it was begun."""
        if self._refused is not None:
            return asdict(self._refused)
        return None if self._running is None else asdict(self._running.report())

    def fetch(self, work: str, name: str) -> bytes:
        """Return a file of the finished session."""
        return fetch(work, name)

    def leave(self, work: str) -> None:
        """Remove what the node has of the session, and end this actor: what the device needs is free."""
        self.stop()
        drop(work)
        sys.exit(0)

    def stop(self) -> None:
        """End the session's process."""
        if self._running is not None:
            self._running.stop()
