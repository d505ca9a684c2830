"""This machine's devices alone, without Ray: each session is a process of the head's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from zmlx_bench.errors import UnusableInput
from zmlx_bench.fleet import site
from zmlx_bench.fleet.nodes import NodeFails, Report
from zmlx_bench.fleet.site import Running
from zmlx_bench.schema.fleet import FleetDevice, FleetWork


class Local:
    """The nodes behind `--local`: one, which is here."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._devices: list[FleetDevice] | None = None
        self._running: dict[str, Running] = {}
        self._said: dict[str, Report] = {}
        self._new: list[str] = []
        """Looked for, and not yet said."""
        self._works: dict[str, FleetWork] = {}

    def devices(self) -> Sequence[FleetDevice]:
        """Return the devices of this machine; NodeFails where it cannot say them, and there is no other."""
        if self._devices is None:
            self._devices = site.survey()
        return self._devices

    def unused(self) -> Mapping[str, str]:
        """Return nothing: without this machine's devices there is no head."""
        return {}

    def start(self, work: FleetWork, parcel: bytes) -> None:
        """Begin a session or go on with it."""
        self._works[work.session] = work
        self._said.pop(work.session, None)
        if work.session not in self._running:
            self._running[work.session] = Running(work, parcel, site.environment(), self._folder)

    def look(self, work: FleetWork) -> None:
        """Know of a session of before; its process ended with the head that had started it."""
        self._works[work.session] = work
        self._said[work.session] = site.standing(site.workspace_of(work, self._folder), work.session)
        self._new.append(work.session)

    def poll(self, sessions: Sequence[str]) -> Sequence[Report]:
        """Return how the sessions stand, where that has changed."""
        found = [self._said[session] for session in self._new if session in self._said]
        self._new.clear()
        for session in sessions:
            if session not in self._running:
                continue
            report = self._running[session].report()
            if report != self._said.get(session):
                self._said[session] = report
                found.append(report)
            if report.outcome is not None:
                del self._running[session]
        return found

    def fetch(self, session: str, name: str) -> bytes:
        """Return a file of a finished session."""
        try:
            return site.fetch(site.workspace_of(self._works[session], self._folder), session, name)
        except (KeyError, UnusableInput) as error:
            raise NodeFails(str(error)) from None

    def stop(self, work: FleetWork, *, drop: bool) -> None:
        """End a session, and with `drop` remove it."""
        running = self._running.pop(work.session, None)
        if running is not None:
            running.stop()
        if drop:
            site.drop(site.workspace_of(work, self._folder), work.session)
            self._works.pop(work.session, None)
            self._said.pop(work.session, None)

    def close(self) -> None:
        """End what runs: it would end with this process anyway."""
        for running in self._running.values():
            running.stop()
        self._running.clear()
