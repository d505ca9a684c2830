"""What of Ray can be lost: the cluster, a node's network, a device's resources, and the Ray of the head's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import QUIET_ENV, ZMLX
from tests.fleet.cluster import LITTLE, Cluster, running
from tests.fleet.real import OPTIONS, workspace_in
from tests.fleet.test_cluster import Heads, begun
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.show import standing
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.fleet import Assigned
from zmlx_bench.workspace import Workspace

pytest.importorskip("ray")
pytestmark = [pytest.mark.process, pytest.mark.slow]
PATIENCE_S = 300.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


def wait(what: Callable[[], object], says: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, says()
        time.sleep(0.1)


def assert_whole(workspace: Workspace, sessions: int) -> list[str]:
    """All sessions are here once and hold; return the names of those that were started, as often as they were."""
    (place,) = journal.runs(workspace)
    assert [item.state for item in standing(place).items.values()] == ["collected"] * sessions
    checked = check_workspace(workspace, processes=1)
    assert (checked.findings, checked.sessions) == ((), sessions)
    return [one.session for one in journal.read(place.journal) if isinstance(one, Assigned)]


def test_a_cluster_that_is_lost_is_made_anew_and_the_run_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    workspace = workspace_in(tmp_path / "ws")
    heads = Heads(cluster, workspace, 1)
    begun(workspace, heads)
    wait(lambda: list(cluster.root.glob("n*/cache/zmlx/fleet/*/capsules/*/session.json")), heads.log.read_text)
    for name in list(cluster.nodes):
        cluster.kill(name)
    heads.process.kill()
    heads.process.wait()
    cluster.up()
    heads.kill()
    heads.wait()
    started = assert_whole(workspace, 2)
    assert len(started) > len(set(started)) == 2, "what was half done went on"


def test_a_node_whose_network_is_cut_goes_on_when_it_is_back(cluster: Cluster, tmp_path: Path) -> None:
    """All processes of a node stand still until Ray has taken it out; then its owner starts it again."""
    workspace = workspace_in(tmp_path / "ws")
    heads = Heads(cluster, workspace, 2)
    begun(workspace, heads)
    wait(lambda: list(cluster.root.glob("n1/cache/zmlx/fleet/*/capsules/*/session.json")), heads.log.read_text)
    still = [psutil.Process(cluster.nodes["n1"].pid), *cluster.processes("n1")]
    for process in still:
        process.send_signal(signal.SIGSTOP)
    wait(lambda: "n1/cpu-0: answers no more" in heads.log.read_text() or heads.process.poll() is not None)
    for process in still:
        if process.is_running():
            process.send_signal(signal.SIGCONT)
    time.sleep(3)
    cluster.kill("n1")
    cluster.start("n1")
    heads.wait()
    assert_whole(workspace, 4)


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
    heads = Heads(cluster, workspace, 1)
    begun(workspace, heads)
    wait(lambda: "taken: another job of the Ray cluster" in heads.log.read_text(), heads.log.read_text)
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
    wait(lambda: list(tmp_path.glob("cache/zmlx/fleet/*/capsules/*/events.jsonl")) or head.poll() is not None)
    assert head.poll() is None, head.communicate()
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
