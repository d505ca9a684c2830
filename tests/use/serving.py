"""`zmlx serve` in a process of its own, and a client that reads its streams."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import QUIET_ENV, ZMLX
from zmlx_bench.workspace import Workspace

SECONDS = 60


@dataclass
class Server:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def stream(self, prompt: str, tokens: int) -> list[str]:
        """The pieces of text of a streamed chat completion, one an event, in order."""
        body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "stream": True}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        pieces = []
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            for line in answer:
                event = line.decode().removeprefix("data: ").strip()
                if event.startswith("{"):
                    pieces.append(json.loads(event)["choices"][0]["delta"].get("content", ""))
        return pieces

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(SECONDS)

    @property
    def said(self) -> str:
        return self.log.read_text()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def serve(place: Workspace, family: str, variant: str, log: Path, **env: str) -> Iterator[Server]:
    """Run a server until the end of the block; it is killed where the block has not ended it."""
    port = free_port()
    command = [*ZMLX, "serve", family, "--checkpoint", "tiny", "--variant", variant, "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=place.root, env={**QUIET_ENV, **env}, stdout=file, stderr=file)
    server = Server(port, process, log)
    try:
        _wait(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: Server) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the server did not answer:\n{server.said}")
