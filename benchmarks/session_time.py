"""One question to an earlier commit and to this checkout: how long a session takes, and how long beside its decode.

    python benchmarks/session_time.py [--commit 159cd2d] [--pairs 1] [--family qwen3] [--variant qwen_qkv_joined]
        [--checkpoint tiny] [--backend cpu] [--layers N] [--then FOLDER] [--state FOLDER [--most-s S]]

One variant, budgets of 200 and 1024 tokens, three blocks, null arm, the five prompts that both commits have, tiny
checkpoint, CPU, unless asked otherwise. The commit is checked out into a git worktree of its own, which is removed
afterwards; where there is no git, --then names a folder with its files (`git archive 159cd2d | tar -x -C FOLDER`).
Both run in the Python environment of this script, each with its own code, turn and turn about, and in one
temporary folder, so that what MLX compiles is there for both but for the first. What zmlx itself keeps for later
sessions (token ids, native builds, compiled kernels) both take from the user's cache and leave there: XDG_CACHE_HOME
names another folder for it, an empty one for what a machine's first session takes. Decode is what the workers' clocks
say from the first token of each prompt to its last, warm-ups and processes that were cut off left out; the rest of the
wall time is start-up, loading, compiling, warming up, prefill and waiting.

Where no command may run as long as that takes, --state names a folder in which all of it is kept, and --most-s after
how many seconds this is to end: the same command goes on there, on the same machine only, until the table is printed
(exit code 0; 75 before). `session_parts.py` says what of a session that was cut off is counted.
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

import session_parts
from session_parts import Begun, Cut, Part, Parts

ROOT = Path(__file__).resolve().parents[1]
PROMPTS = "tcp_udp,great_wall,binary_tree,primes,lighthouse"
NOT_YET = 75
"""Exit code where the time is up."""


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
    """Return the processes that ended, their seconds of decode and their tokens, of an event log."""
    processes, decode_ns, tokens = 0, 0, 0
    own_ns, own_tokens = 0, 0  # of the process that runs: one that was cut off starts anew, and counts for nothing
    first: int | None = None
    last = 0
    for line in lines:
        record: dict[str, Any] = json.loads(line)
        event = record.get("event", {})
        if record["kind"] == "start":
            own_ns, own_tokens, first = 0, 0, None
        elif record["kind"] == "end":
            processes, decode_ns, tokens = processes + 1, decode_ns + own_ns, tokens + own_tokens
        elif event.get("event") == "token":
            first = event["t_ns"] if first is None else first
            last, own_tokens = event["t_ns"], own_tokens + 1
        elif event.get("event") == "prompt_end" and first is not None:
            own_ns += last - first
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
    # A killed call leaves its own, which may be half of it, or known to git alone; twice: locked while it is made.
    force = ["--force", "--force"]
    subprocess.run([*git, "remove", *force, str(folder)], check=False, capture_output=True)
    add = [*git, "add", *force, "--detach", str(folder), commit]
    made = subprocess.run(add, check=False, capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"--commit {commit}: cannot be checked out into {folder}: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def session(
    which: str, pair: int, code: Path, question: argparse.Namespace, folder: Path, parts: Parts, until: float
) -> Took:
    """Run a session with the code of a checkout, or what is left of it; Cut where the time is up before its end."""
    workspace = workspace_of(folder, which, pair)
    while not (known := parts.of(which, pair)) or not known[-1].done:
        if time.monotonic() >= until:
            raise Cut
        env = {**os.environ, "TMPDIR": str(folder / "tmp")}
        command = session_parts.prepare(code, workspace, asked(question), env)
        begun = Begun(which, pair, time.time(), "--resume" in command)
        parts.begin(begun)
        seconds, done = session_parts.run(code, workspace, command, env, until, begun)
        parts.add(Part(which, pair, seconds, done, os.getloadavg()[0]))
    (log,) = workspace.glob("capsules/*/events.jsonl")
    with log.open(encoding="utf-8") as lines:
        processes, decode_s, tokens = decode_of(lines)
    return Took(processes, sum(part.seconds for part in known), decode_s, tokens)


def workspace_of(folder: Path, which: str, pair: int) -> Path:
    """Return where a session's workspace lies."""
    return folder / f"ws-{which}-{pair}"


def asked(question: argparse.Namespace) -> list[str]:
    """Return what `zmlx run` is asked."""
    budgets = [part for tokens in question.tokens for part in ("--tokens", str(tokens))]
    layers = ["--layers", str(question.layers), "--force"] if question.layers is not None else []
    return [
        question.family, "--checkpoint", question.checkpoint, "--backend", question.backend, *budgets,
        "--runs", str(question.blocks), "--variants", question.variant, "--prompts", question.prompts, *layers,
    ]  # fmt: skip


def main() -> None:
    """Run the pairs, or what is left of them, and print them with their ratios."""
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
    parser.add_argument("--state", type=Path, help="folder that is kept, for calls that end before all is done")
    parser.add_argument("--most-s", type=float, default=math.inf, help="seconds after which to end; needs --state")
    question = parser.parse_args()
    if question.state is None and question.most_s < math.inf:
        parser.error("--most-s: needs --state, where the next call finds what this one did")
    with contextlib.ExitStack() as stack:
        folder = question.state or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            found = compare(question, folder.resolve(), time.monotonic() + question.most_s)
        except Cut:
            print(f"not finished: the same command goes on in {folder}", file=sys.stderr)
            sys.exit(NOT_YET)
    table(question, found)


def compare(question: argparse.Namespace, folder: Path, until: float) -> dict[str, list[Took]]:
    """Run the sessions that are missing and return all of them."""
    told = {name: str(value) for name, value in vars(question).items() if name not in ("state", "most_s", "then")}
    parts = Parts(folder, told, session_parts.host())
    if (begun := parts.begun) is not None:
        parts.add(session_parts.left(begun, workspace_of(folder, begun.which, begun.pair)))
    if not (temporary := folder / "tmp").exists():
        half = folder / "tmp-half"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        if question.compiled is not None:
            shutil.copytree(question.compiled, half / "mlx")
        half.rename(temporary)
    found: dict[str, list[Took]] = {question.commit: [], "now": []}
    with checked_out(question.commit, question.then, folder / "then") as then:
        codes = {question.commit: then, "now": ROOT}
        for pair in range(question.pairs):
            for which in list(codes) if pair % 2 == 0 else list(codes)[::-1]:
                took = session(which, pair, codes[which], question, folder, parts, until)
                found[which].append(took)
                print(f"{which}: {took}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return found


def table(question: argparse.Namespace, found: dict[str, list[Took]]) -> None:
    """Print the sessions with their ratios."""
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
