"""The cable of a node is pulled for a minute while a session runs on it: every session is collected, and none twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleet.cluster import NEEDS_RAY, SOON, Cluster, running
from tests.fleet.heads import Heads, assert_whole
from tests.fleet.network import AWAY, network
from tests.fleet.real import workspace_in
from zmlx_bench.workspace import Workspace

pytestmark = [pytest.mark.process, pytest.mark.slow, NEEDS_RAY]
CUT_S = 60.0
BLOCKS = 16
"""A session of so many takes longer than Ray needs to give a node up, and is not done twice in a test's patience."""
PATIENT = {"RAY_health_check_failure_threshold": "30", "RAY_gcs_rpc_server_reconnect_timeout_s": "300"}
"""A Ray that waits minutes for a node, and a node that waits as long for it."""


@contextmanager
def cut(folder: Path, settings: Mapping[str, str]) -> Iterator[tuple[Cluster, Heads]]:
    """Pull the cable in the middle of a session, and put it back after a minute."""
    with network() as cable, running(settings, cable) as cluster:
        asked = {"families": ["qwen3"], "variants": ["qwen_qkv_joined"], "sessions": 1, "runs": BLOCKS}
        heads = Heads(cluster, workspace_in(folder / "ws"), **asked, devices=f"{AWAY}/")
        try:
            heads.begun()
            heads.until(lambda: jobs_started(cluster) >= 2)
            assert reached(cluster)
            cable.pull()
            assert not reached(cluster), "the cable is out"
            time.sleep(CUT_S)
            cable.plug()
            yield cluster, heads
        finally:
            heads.stop()


def jobs_started(cluster: Cluster) -> int:
    logs = cluster.root.glob(f"{AWAY}/cache/zmlx/fleet/*/capsules/*/events.jsonl")
    return sum(path.read_bytes().count(b'"kind":"start"') for path in logs)


def reached(cluster: Cluster) -> bool:
    """Return whether the first machine answers the node's."""
    host, _, port = cluster.address.partition(":")
    asks = [sys.executable, "-c", f"import socket; socket.create_connection(({host!r}, {port}), 3)"]
    return subprocess.run([*cluster.within(AWAY), *asks], capture_output=True, check=False).returncode == 0


def test_a_cut_that_ray_outlasts_is_not_noticed(tmp_path: Path) -> None:
    with cut(tmp_path, PATIENT) as (cluster, heads):
        heads.wait()
        assert cluster.nodes[AWAY].poll() is None
    assert len(assert_whole(Workspace(tmp_path / "ws"), 1)) == 1


def test_a_node_that_ray_has_given_up_goes_on_when_its_owner_starts_it_again(tmp_path: Path) -> None:
    with cut(tmp_path, SOON) as (cluster, heads):
        heads.until(lambda: f"{AWAY}/cpu-0: answers no more" in heads.log.read_text())
        heads.until(lambda: cluster.nodes[AWAY].poll() is not None)
        cluster.start(AWAY)
        heads.wait()
    started = assert_whole(Workspace(tmp_path / "ws"), 1)
    assert len(started) > len(set(started)) == 1, "what was half done went on"
