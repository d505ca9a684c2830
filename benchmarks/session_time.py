"""One question to an earlier commit and to this checkout: how long a session takes, and how long beside its decode.

    python benchmarks/session_time.py [--commit 159cd2d] [--pairs 1] [--family qwen3] [--variant qwen_qkv_joined]
        [--checkpoint tiny] [--backend cpu] [--layers N] [--then FOLDER]

One variant, budgets of 200 and 1024 tokens, three blocks, null arm, the five prompts that both commits have, tiny
checkpoint, CPU, unless asked otherwise. The commit is checked out into a git worktree of its own, which is removed
afterwards; where there is no git, --then names a folder with its files (`git archive 159cd2d | tar -x -C FOLDER`).
Both run in the Python environment of this script, each with its own code, turn and turn about, and in one
temporary folder, so that what MLX compiles is there for both but for the first. Decode is what the workers' clocks say
from the first token of each prompt to its last, warm-ups left out; the rest of the wall time is start-up, loading,
compiling, warming up, prefill and waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROMPTS = "tcp_udp,great_wall,binary_tree,primes,lighthouse"
COMMAND = "from zmlx_bench.cli.main import main; main()"


@dataclass(frozen=True)
class Took:
    """One session."""

    processes: int
    total_s: float
    decode_s: float
    tokens: int

    @property
    def rest_s(self) -> float:
        """Wall time less decode."""
        return self.total_s - self.decode_s


def decode_of(lines: Iterable[str]) -> tuple[int, float, int]:
    """Return the processes, the seconds of decode and the tokens of an event log."""
    processes, decode_ns, tokens = 0, 0, 0
    first: int | None = None
    last = 0
    for line in lines:
        record: dict[str, Any] = json.loads(line)
        processes += record["kind"] == "end"
        event = record.get("event", {})
        if event.get("event") == "token":
            first = event["t_ns"] if first is None else first
            last, tokens = event["t_ns"], tokens + 1
        elif event.get("event") == "prompt_end" and first is not None:
            decode_ns += last - first
            first = None
    return processes, decode_ns / 1e9, tokens


@contextlib.contextmanager
def checked_out(commit: str, given: Path | None, folder: Path) -> Iterator[Path]:
    """Check a commit out beside this checkout, unless a folder that holds it is given."""
    if given is not None:
        if not (given / "zmlx_bench").is_dir():
            sys.exit(f"--then {given}: holds no zmlx_bench; unpack the commit's files there")
        yield given.resolve()
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(folder), commit], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def session(code: Path, workspace: Path, question: argparse.Namespace, temporary: Path) -> Took:
    """Run a session with the code of a checkout in a workspace of its own."""
    path = os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary)}

    def zmlx(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments], cwd=code, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(f"{code}: zmlx {' '.join(arguments)}\n{done.stderr}")

    zmlx("init", str(workspace))
    budgets = [part for tokens in question.tokens for part in ("--tokens", str(tokens))]
    layers = ["--layers", str(question.layers), "--force"] if question.layers is not None else []
    began = time.perf_counter()
    zmlx(
        "run", question.family, "--checkpoint", question.checkpoint, "--backend", question.backend, *budgets,
        "--runs", str(question.blocks), "--variants", question.variant, "--prompts", question.prompts, *layers,
        "--workspace", str(workspace),
    )  # fmt: skip
    total_s = time.perf_counter() - began
    (log,) = workspace.glob("capsules/*/events.jsonl")
    with log.open(encoding="utf-8") as lines:
        processes, decode_s, tokens = decode_of(lines)
    return Took(processes, total_s, decode_s, tokens)


def main() -> None:
    """Run the pairs and print them with their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commit", default="159cd2d")
    parser.add_argument("--then", type=Path, help="folder that holds the commit's files, where there is no git")
    parser.add_argument("--compiled", type=Path, help="MLX's folder of what it has compiled, for both to begin with")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--family", default="qwen3")
    parser.add_argument("--variant", default="qwen_qkv_joined")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--layers", type=int, help="of a synthetic checkpoint")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--prompts", default=PROMPTS, help="by comma, of those that both commits have")
    parser.add_argument("--tokens", type=int, nargs="+", default=[200, 1024])
    question = parser.parse_args()
    found: dict[str, list[Took]] = {question.commit: [], "now": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        temporary = folder / "tmp"
        temporary.mkdir()
        if question.compiled is not None:
            shutil.copytree(question.compiled, temporary / "mlx")
        with checked_out(question.commit, question.then, folder / "then") as then:
            codes = {question.commit: then, "now": ROOT}
            for pair in range(question.pairs):
                for which in list(codes) if pair % 2 == 0 else list(codes)[::-1]:
                    took = session(codes[which], folder / f"ws-{which}-{pair}", question, temporary)
                    found[which].append(took)
                    print(f"{which}: {took}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print(
        f"{question.family}, {question.checkpoint}, {question.backend}, {question.variant}, {question.blocks} blocks, "
        f"tokens {question.tokens}, {question.prompts}"
    )
    print(f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f} at the end")
    print("| | processes | tokens | whole, s | decode, s | whole less decode, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for which, sessions in found.items():
        cells = [statistics.fmean(values) for values in zip(*(_cells(took) for took in sessions), strict=True)]
        print(f"| {which} | {cells[0]:.0f} | {cells[1]:.0f} | " + " | ".join(f"{c:.1f}" for c in cells[2:]) + " |")
    pairs = list(zip(found["now"], found[question.commit], strict=True))
    for name, ratio in (
        ("whole", [now.total_s / then.total_s for now, then in pairs]),
        ("whole less decode", [now.rest_s / then.rest_s for now, then in pairs]),
    ):
        mean = math.exp(statistics.fmean(map(math.log, ratio)))
        print(f"{name}: now / {question.commit} = {mean:.3f} ({', '.join(f'{r:.3f}' for r in ratio)})")


def _cells(took: Took) -> tuple[float, ...]:
    return took.processes, took.tokens, took.total_s, took.decode_s, took.rest_s


if __name__ == "__main__":
    main()
