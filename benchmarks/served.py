"""Is the promoted variant faster through the real server, token for token the same?

Three servers run side by side: mlx-lm's own model, the same once more (the floor), and the promoted variant. In each
turn every server streams the same chat completion, one server at a time, in an order that is reversed every second
turn. Decode tok/s are the tokens after the first, as the server counts them, over the time between the first and the
last piece of text that arrives. Ratios are paired by turn. The workspace is the nearest one: its promoted.toml decides.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zmlx_bench.analysis.decision.statistics import mean_interval
from zmlx_bench.catalog import prompts as prompt_catalog

ZMLX = (sys.executable, "-c", "from zmlx_bench.cli.main import main; main()")
ARMS = {"stock": "none", "null": "none", "promoted": "promoted"}
START_SECONDS = 120


@dataclass
class Server:
    """One running server."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> None:
        """Return once it answers; exit with its log where it ends before."""
        end = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        sys.exit(f"a server did not start:\n{self.log.read_text()}")

    def complete(self, prompt: str, tokens: int) -> tuple[list[str], float]:
        """Return (pieces of text, decode tok/s) of a streamed chat completion."""
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        pieces, times, count = [], [], 0
        with urllib.request.urlopen(request) as answer:
            for line in answer:
                event = line.decode().removeprefix("data: ")
                if not event.startswith("{"):
                    continue
                told = json.loads(event)
                count = told.get("usage", {}).get("completion_tokens", count)
                for choice in told["choices"]:
                    if piece := choice["delta"].get("content"):
                        pieces.append(piece)
                        times.append(time.perf_counter())
        return pieces, (count - 1) / (times[-1] - times[0])


def start(family: str, checkpoint: str, variant: str, log: Path) -> Server:
    """Start a server on a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [*ZMLX, "serve", family, "--checkpoint", checkpoint, "--variant", variant, "--port", str(port)]
    file: IO[bytes]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    return Server(port, process, log)


def measure(family: str, checkpoint: str, tokens: int, turns: int) -> None:
    """Print one family's rows."""
    prompts = prompt_catalog.load(None).prompt
    speeds: dict[str, list[float]] = {name: [] for name in ARMS}
    same = compared = 0
    with tempfile.TemporaryDirectory() as folder:
        servers = {name: start(family, checkpoint, variant, Path(folder, name)) for name, variant in ARMS.items()}
        try:
            for server in servers.values():
                server.wait()
                server.complete(prompts[0].text, 16)
            for turn in range(turns):
                prompt = prompts[turn % len(prompts)].text
                texts = {}
                for name in list(ARMS) if turn % 2 == 0 else list(ARMS)[::-1]:
                    texts[name], speed = servers[name].complete(prompt, tokens)
                    speeds[name].append(speed)
                same += texts["stock"] == texts["promoted"]
                compared += len(texts["stock"])
            told = [
                line
                for line in servers["promoted"].log.read_text().splitlines()
                if line.startswith("no variant") or "promoted for" in line
            ]
            print("\n".join(told), file=sys.stderr)
        finally:
            for server in servers.values():
                server.process.send_signal(signal.SIGTERM)
            for server in servers.values():
                server.process.wait()
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    for name in ("promoted", "null"):
        logs = [math.log(a / b) for a, b in zip(speeds[name], speeds["stock"], strict=True)]
        mean, low, high = (math.exp(x) for x in mean_interval(logs, 0.90))
        print(
            f"| {family}: {name} / stock | {mean:.3f} | {low:.3f} to {high:.3f} | {turns} "
            f"| {medians[name]:.1f} / {medians['stock']:.1f} |"
        )
    print(
        f"| {family}: streams the same, promoted and stock | {same} of {turns} ({compared} pieces) | | | |", flush=True
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--family", choices=("qwen3", "glm47"), action="append")
    arguments = parser.parse_args()
    if arguments.turns < 2:
        parser.error("--turns: an interval needs at least two")
    print("| ratio of decode speed | value | 90% interval | turns | medians, tok/s |\n|---|---|---|---|---|")
    for family in arguments.family or ("qwen3", "glm47"):
        measure(family, arguments.checkpoint, arguments.tokens, arguments.turns)


if __name__ == "__main__":
    main()
