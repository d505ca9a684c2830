"""A Ray cluster on this machine: real `ray start` processes, each a host of its own to zmlx."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from tests.conftest import QUIET_ENV
from tests.fleet.network import AWAY, AWAY_IP, FIRST_IP, Network

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
"""Of whole files; nobody imports Ray to collect them, which is most of a second."""
LITTLE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0" * 64,
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",
}
"""With a token, few processes, and none behind the other tests'."""
SOON = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
}
"""With them a node that does not answer is dead to Ray within seconds; without them Ray is as patient as it comes."""
UP_S = 900.0
FIRST = "n0"
"""Holds the cluster together."""


class Cluster:
    """Nodes that can be killed and started again. Nothing here touches a Ray that is not its own."""

    def __init__(
        self,
        settings: Mapping[str, str] = SOON,
        network: Network | None = None,
        size: int = 3,
        resources: Sequence[str] = ("--num-cpus=1", "--num-gpus=0"),
    ) -> None:
        self._settings, self._network, self._resources = settings, network, resources
        self._names = [f"n{number}" for number in range(size)]
        # Ray's sockets lie in there, and the system bounds the length of their paths.
        self.root = Path(tempfile.mkdtemp(prefix="zf", dir="/tmp"))
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def others(self) -> list[str]:
        """All nodes but the one that holds the cluster together."""
        return self._names[1:]

    @property
    def address(self) -> str:
        return f"{FIRST_IP if self._network is not None else '127.0.0.1'}:{self.port}"

    def within(self, name: str) -> list[str]:
        """Return the beginning of a command that runs where a node does."""
        return [] if self._network is None else self._network.within(name)

    def env(self, name: str) -> dict[str, str]:
        """Return the environment of a node: a cache, device locks and a name of its own."""
        folder = self.root / name
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        own = {"XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder / "tmp"), "ZMLX_FLEET_HOST": name}
        return {**QUIET_ENV, **LITTLE, **self._settings, **own}

    def start(self, name: str) -> None:
        """Start a node, once those that are starting are up: two at once would choose the same names of sockets."""
        self._settle()
        head = ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.root / 'r'}"]
        command = [
            *self.within(name), sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start",
            *(head if name == FIRST else [f"--address={self.address}"]), *self._ip(name), *self._resources,
            "--object-store-memory=80000000", "--disable-usage-stats", "--include-log-monitor=false",
            "--block",
        ]  # fmt: skip
        with self._log(name).open("wb") as log:
            self.nodes[name] = subprocess.Popen(
                command, env=self.env(name), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def up(self) -> None:
        """Start all nodes, or what is missing of them; return when all are up."""
        for name in self._names:
            if name not in self.nodes or self.nodes[name].poll() is not None:
                self.start(name)
        self._settle()
        ended = [self._log(name).read_text() for name, node in self.nodes.items() if node.poll() is not None]
        assert ended == [], "\n".join(ended)

    def _settle(self) -> None:
        deadline = time.monotonic() + UP_S
        for name, node in self.nodes.items():
            while node.poll() is None and "will now block" not in self._log(name).read_text():
                assert time.monotonic() < deadline, self._log(name).read_text()
                time.sleep(0.2)

    def _log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def _ip(self, name: str) -> list[str]:
        if self._network is None:
            return []
        return [f"--node-ip-address={AWAY_IP if name == AWAY else FIRST_IP}"]

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
def running(settings: Mapping[str, str] = SOON, network: Network | None = None, size: int = 3) -> Iterator[Cluster]:
    """Start a cluster, and end all of it whatever happens."""
    made = Cluster(settings, network, size)
    try:
        made.up()
        yield made
    finally:
        made.down()
