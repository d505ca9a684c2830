"""Heads of a run on a cluster of the tests, each a process that can be killed, and what must hold at the run's end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

from tests.fleet.cluster import Cluster
from tests.fleet.real import ROOT
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.show import standing
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.fleet import Assigned, Collected, Seen
from zmlx_bench.workspace import Workspace

PATIENCE_S = 600.0
MOST_ENDED = 10


class Heads:
    """One head after the other, on one run; `asked` is what differs from `head_process.ASKED`."""

    def __init__(self, cluster: Cluster, workspace: Workspace, **asked: object) -> None:
        self._command = [
            *cluster.within("head"), sys.executable, "-m", "tests.fleet.head_process", str(workspace.root),
            cluster.address, json.dumps(asked),
        ]  # fmt: skip
        self._env = cluster.env("head")
        self._workspace = workspace
        self.log = workspace.root / "head.log"
        self.ended = 0
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=ROOT, env=self._env, stdout=log, stderr=log)

    def kill(self) -> None:
        """Kill the head and start another."""
        self.process.kill()
        self.process.wait()
        self.process = self._started()

    def lives(self) -> bool:
        """Return whether the run goes on; a head whose own Ray node was killed goes with it, and is started again."""
        if self.process.poll() is None:
            return True
        if self.process.returncode == 0:
            return False
        self.ended += 1
        assert self.ended < MOST_ENDED, self.log.read_text()
        self.process = self._started()
        return True

    def until(self, what: Callable[[], object]) -> None:
        """Wait while the run goes on, until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert self.lives(), self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def begun(self, devices: int = 3) -> None:
        """Wait until so many devices were seen and a session was given to one."""
        self.until(lambda: self._begun(devices))

    def _begun(self, devices: int) -> bool:
        events = [event for one in journal.runs(self._workspace) for event in journal.read(one.journal)]
        seen = {event.device.device for event in events if isinstance(event, Seen)}
        return len(seen) == devices and any(isinstance(event, Assigned) for event in events)

    def wait(self) -> None:
        """Wait for the end of the run."""
        deadline = time.monotonic() + PATIENCE_S
        while self.lives():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def stop(self) -> None:
        """End the head, whatever it is at."""
        self.process.kill()
        self.process.wait()


def assert_whole(workspace: Workspace, sessions: int) -> list[str]:
    """All sessions are here once and hold; return the names of those that were started, as often as they were."""
    (place,) = journal.runs(workspace)
    states = [(item.state, item.why) for item in standing(place).items.values()]
    assert states == [("collected", "")] * sessions
    events = list(journal.read(place.journal))
    collected = [one.session for one in events if isinstance(one, Collected)]
    assert len(collected) == len(set(collected)) == sessions
    assert sorted(path.name for path in workspace.capsules.iterdir()) == sorted(collected)
    started = [one.session for one in events if isinstance(one, Assigned)]
    assert set(collected) <= set(started)
    checked = check_workspace(workspace, processes=1)
    assert (checked.findings, checked.sessions, checked.rows) == ((), sessions, sessions)
    return started
