"""A Ray cluster of three nodes on this machine: real `ray start` processes, each a host of its own to zmlx."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.conftest import QUIET_ENV

LITTLE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0" * 64,
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
}
"""With a token, few processes, dead nodes noticed within seconds, and no session at nice 15, which is Ray's default and
leaves it nothing beside other tests."""
UP_S = 300.0


class Cluster:
    """Nodes that can be killed and started again. Nothing here touches a Ray that is not its own."""

    def __init__(self) -> None:
        # Ray's sockets lie in there, and the system bounds the length of their paths.
        self.root = Path(tempfile.mkdtemp(prefix="zf", dir="/tmp"))
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def env(self, name: str) -> dict[str, str]:
        """Return the environment of a node: a cache, device locks and a name of its own."""
        folder = self.root / name
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        own = {"XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder / "tmp"), "ZMLX_FLEET_HOST": name}
        return {**QUIET_ENV, **LITTLE, **own}

    def start(self, name: str, *, first: bool = False) -> None:
        """Start a node, the first of which holds the cluster together."""
        head = ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.root / 'r'}"]
        command = [
            sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start",
            *(head if first else [f"--address={self.address}"]), "--num-cpus=1",
            "--num-gpus=0", "--object-store-memory=80000000", "--disable-usage-stats", "--include-log-monitor=false",
            "--block",
        ]  # fmt: skip
        log = (self.root / f"{name}.log").open("wb")
        self.nodes[name] = subprocess.Popen(
            command, env=self.env(name), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        log.close()

    def up(self) -> None:
        """Start all three."""
        self.start("n0", first=True)
        deadline = time.monotonic() + UP_S
        while not self._listens():
            assert time.monotonic() < deadline, (self.root / "n0.log").read_text()
            assert self.nodes["n0"].poll() is None, (self.root / "n0.log").read_text()
            time.sleep(0.2)
        for name in ("n1", "n2"):
            # One after the other: two that start at once choose the same names of sockets.
            self.start(name)
            while "will now block" not in (self.root / f"{name}.log").read_text():
                assert time.monotonic() < deadline, (self.root / f"{name}.log").read_text()
                time.sleep(0.2)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def processes(self, name: str) -> list[psutil.Process]:
        """Return a node's processes, its sessions' among them."""
        try:
            return psutil.Process(self.nodes[name].pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self, name: str) -> None:
        """Kill all of a node at once, as when its power is cut."""
        node = self.nodes[name]
        victims = self.processes(name)
        for process in (psutil.Process(node.pid), *victims) if node.poll() is None else victims:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        node.wait(30)
        psutil.wait_procs(victims, timeout=30)

    def down(self) -> None:
        """Kill what is left, and remove what it wrote."""
        for name in list(self.nodes):
            self.kill(name)
        if "KEEP_CLUSTER" not in os.environ:
            shutil.rmtree(self.root, ignore_errors=True)


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Start a cluster, and end all of it whatever happens."""
    made = Cluster()
    try:
        made.up()
        yield made
    finally:
        made.down()
