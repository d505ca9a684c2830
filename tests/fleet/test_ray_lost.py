"""What of Ray can be lost: the cluster, a device's resources, and the Ray of the head's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import QUIET_ENV, ZMLX
from tests.fleet.cluster import LITTLE, NEEDS_RAY, Cluster, running
from tests.fleet.heads import Heads, assert_whole
from tests.fleet.real import OPTIONS, workspace_in

pytestmark = [pytest.mark.process, pytest.mark.slow, NEEDS_RAY]
PATIENCE_S = 300.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


def test_a_cluster_that_is_lost_is_made_anew_and_the_run_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path / "ws")
    heads = Heads(cluster, workspace, sessions=1)
    heads.begun()
    heads.until(lambda: list(cluster.root.glob("n*/cache/zmlx/fleet/*/capsules/*/session.json")))
    for name in list(cluster.nodes):
        cluster.kill(name)
    heads.stop()
    cluster.up()
    heads.kill()
    heads.wait()
    started = assert_whole(workspace, 2)
    assert len(started) > len(set(started)) == 2, "what was half done went on"


USED = """
import sys, time, ray
ray.init(address=sys.argv[1], namespace="somebody", log_to_driver=False)
@ray.remote(num_cpus=1)
class Hog:
    def here(self): return ray.get_runtime_context().get_node_id()
hogs = [Hog.remote() for _ in range(3)]
print(len(set(ray.get([hog.here.remote() for hog in hogs]))), flush=True)
sys.stdin.read()
"""


def test_devices_that_another_job_of_the_cluster_uses_are_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path / "ws")
    other = subprocess.Popen(
        [sys.executable, "-c", USED, cluster.address], env=cluster.env("other"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "3\n"
    heads = Heads(cluster, workspace, sessions=1)
    heads.begun()
    heads.until(lambda: "taken: another job of the Ray cluster" in heads.log.read_text())
    other.communicate("")
    heads.wait()
    assert_whole(workspace, 2)


def _listening(process: psutil.Process) -> list[str]:
    try:
        return [
            one.laddr.ip for one in process.net_connections("inet")
            if one.status == psutil.CONN_LISTEN and one.type == socket.SOCK_STREAM
        ]  # fmt: skip
    except psutil.Error:
        return []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_a_ray_of_its_own_is_on_the_loopback_has_no_secret_and_ends_with_the_head(tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path / "ws")
    (tmp_path / "tmp").mkdir()
    secret = {"HF_TOKEN": "hf_of_the_head", "MY_PASSWORD": "of_the_head", "MINE": "of_the_head"}
    env = {**QUIET_ENV, **secret, "XDG_CACHE_HOME": str(tmp_path / "cache"), "RAY_TMPDIR": "/tmp"}
    env |= {name: value for name, value in LITTLE.items() if "AUTH" not in name and "CLUSTER" not in name}
    command = [*ZMLX, "fleet", "run", *OPTIONS, "--sessions", "1", "--workspace", str(workspace.root), "--json"]
    head = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while not list(tmp_path.glob("cache/zmlx/fleet/*/capsules/*/events.jsonl")):
        assert head.poll() is None, head.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    children = psutil.Process(head.pid).children(recursive=True)
    heard = {ip for process in (psutil.Process(head.pid), *children) for ip in _listening(process)}
    assert heard
    assert heard <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    names = {name for process in children for name in _environment(process)}
    assert "PATH" in names
    assert names.isdisjoint(secret)
    head.kill()
    head.communicate()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert [process.name() for process in alive] == []
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert [one["state"] for one in json.loads(done.stdout)["sessions"]] == ["collected"]
    started = assert_whole(workspace, 1)
    assert len(started) == 2
    assert len(set(started)) == 1
    written = b"".join(path.read_bytes() for path in workspace.root.rglob("*") if path.is_file())
    assert b"of_the_head" not in written
    assert os.environ.get("RAY_ADDRESS") is None
