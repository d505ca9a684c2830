"""A real Ray cluster, of two nodes or of three, whose nodes, workers and heads are killed: nothing is lost or twice."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fleet.cluster import NEEDS_RAY, Cluster, running
from tests.fleet.heads import Heads, assert_whole
from tests.fleet.real import workspace_in

pytestmark = [pytest.mark.process, NEEDS_RAY]
MOST_APART_S = 2.5
"""Between two kills: a session takes longer."""
KILLED = ("ray::Keeper", "zmlx_bench.fleet.agent", "zmlx_bench.measured.worker")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


@pytest.fixture
def two_nodes() -> Iterator[Cluster]:
    """One that can be lost, and where its sessions go: each node takes five seconds of a processor."""
    with running(size=2) as made:
        yield made


def kill(what: str, cluster: Cluster, heads: Heads, seeded: random.Random) -> None:
    """Kill a head, all of a node, or one process of a session; what a machine's owner would start again is."""
    if what == "head":
        heads.kill()
    elif what == "node":
        # The first holds the cluster together: losing that is another test.
        name = seeded.choice(cluster.others)
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


def played(cluster: Cluster, folder: Path, seed: int, kills: int, sessions: int) -> None:
    """One round: a run that is disturbed `kills` times, and comes to its end as if it had not been."""
    seeded = random.Random(seed)
    workspace = workspace_in(folder / "ws")
    cluster.up()
    heads = Heads(cluster, workspace, sessions=sessions)
    try:
        heads.begun(1 + len(cluster.others))
        victims = ["head", "worker", "node"][:kills]
        seeded.shuffle(victims)
        for what in [*victims, *(seeded.choice(["head", "worker", "node"]) for _ in range(kills - 3))]:
            time.sleep(seeded.uniform(0.5, MOST_APART_S))
            if heads.lives():
                kill(what, cluster, heads, seeded)
        heads.wait()
    finally:
        heads.stop()
    assert_whole(workspace, 2 * sessions)


def test_whatever_is_killed_every_session_is_collected_once(two_nodes: Cluster, tmp_path: Path) -> None:
    played(two_nodes, tmp_path, seed=1, kills=3, sessions=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_with_three_nodes(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    played(cluster, tmp_path, seed, kills=3, sessions=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 11))
def test_the_same_with_more_sessions_and_more_kills(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    played(cluster, tmp_path, seed, kills=5, sessions=2)
