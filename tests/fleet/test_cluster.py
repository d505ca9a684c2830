"""A real Ray cluster of three nodes, whose nodes, workers and heads are killed: nothing is lost or twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fleet.cluster import Cluster, running
from tests.fleet.real import ROOT, workspace_in
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.show import standing
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.fleet import Assigned, Seen
from zmlx_bench.schema.fleet import Collected as CollectedEvent
from zmlx_bench.workspace import Workspace

pytest.importorskip("ray")
pytestmark = pytest.mark.process
PATIENCE_S = 600.0
MOST_ENDED = 10
MOST_APART_S = 2.5
"""Between two kills: a session takes longer."""
KILLED = ("ray::Keeper", "zmlx_bench.fleet.agent", "zmlx_bench.measured.worker")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


class Heads:
    """One head after the other, on one run."""

    def __init__(self, cluster: Cluster, workspace: Workspace, sessions: int) -> None:
        self._command = [
            sys.executable, "-m", "tests.fleet.head_process", str(workspace.root), cluster.address, str(sessions),
        ]  # fmt: skip
        self._env = cluster.env("head")
        self.log = workspace.root / "head.log"
        self.ended = 0
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=ROOT, env=self._env, stdout=log, stderr=log)

    def kill(self) -> None:
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

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.lives():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)


def kill(what: str, cluster: Cluster, heads: Heads, seeded: random.Random) -> None:
    """Kill a head, all of a node, or one process of a session; what a machine's owner would start again is."""
    if what == "head":
        heads.kill()
    elif what == "node":
        # The first holds the cluster together: losing that is another test.
        name = seeded.choice(["n1", "n2"])
        cluster.kill(name)
        cluster.start(name)
    else:
        found = [process for name in cluster.nodes for process in cluster.processes(name) if _works(process)]
        if found:
            seeded.choice(sorted(found, key=lambda process: process.pid)).kill()


def _works(process: psutil.Process) -> bool:
    try:
        return any(name in " ".join(process.cmdline()) for name in KILLED)
    except psutil.Error:
        return False


def begun(workspace: Workspace, heads: Heads, devices: int = 3) -> None:
    """Wait until all devices were seen and a session was given to one."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        events = [event for one in journal.runs(workspace) for event in journal.read(one.journal)]
        seen = {event.device.device for event in events if isinstance(event, Seen)}
        if len(seen) == devices and any(isinstance(event, Assigned) for event in events):
            return
        assert time.monotonic() < deadline, heads.log.read_text()
        assert heads.lives(), heads.log.read_text()
        time.sleep(0.2)


def played(cluster: Cluster, folder: Path, seed: int, kills: int, sessions: int) -> None:
    """One round: a run that is disturbed `kills` times, and comes to its end as if it had not been."""
    seeded = random.Random(seed)
    workspace = workspace_in(folder / "ws")
    heads = Heads(cluster, workspace, sessions)
    begun(workspace, heads)
    victims = ["head", "worker", "node"][:kills]
    seeded.shuffle(victims)
    for what in [*victims, *(seeded.choice(["head", "worker", "node"]) for _ in range(kills - 3))]:
        time.sleep(seeded.uniform(0.5, MOST_APART_S))
        if heads.lives():
            kill(what, cluster, heads, seeded)
    heads.wait()
    (place,) = journal.runs(workspace)
    scheduler = standing(place)
    states = {item.key: (item.state, item.why) for item in scheduler.items.values()}
    assert list(states.values()) == [("collected", "")] * 2 * sessions, heads.log.read_text()
    events = list(journal.read(place.journal))
    collected = [one.session for one in events if isinstance(one, CollectedEvent)]
    assert len(collected) == len(set(collected)) == 2 * sessions
    assert sorted(path.name for path in workspace.capsules.iterdir()) == sorted(collected)
    assert set(collected) <= {one.session for one in events if isinstance(one, Assigned)}
    checked = check_workspace(workspace, processes=1)
    assert (checked.findings, checked.sessions, checked.rows) == ((), 2 * sessions, 2 * sessions)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_killed_every_session_is_collected_once(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    played(cluster, tmp_path, seed, kills=3, sessions=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 11))
def test_the_same_with_more_sessions_and_more_kills(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    played(cluster, tmp_path, seed, kills=5, sessions=2)
