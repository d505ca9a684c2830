"""Sessions that may be cut off and gone on with by another call, on one machine: for `session_time.py`.

A folder holds their workspaces, what MLX compiled, and `parts.jsonl`: what was asked on which machine, then a line for
each part of a session that a call ran. A part is counted from the command's start, or where it went on with a session
from the start of its first process, to the end of its last process, or of the command where the session was finished:
what a cut-off process had done, and the preparing of the command that takes it up again, is counted for nobody.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from zmlx_bench import files

COMMAND = "from zmlx_bench.cli.main import main; main()"
_ENDS_S = 60.0
"""That a command may take to end once it is told to."""


@dataclass(frozen=True)
class Part:
    """What one call ran of a session."""

    which: str
    pair: int
    seconds: float
    done: bool
    load: float
    """The machine's load average at its end."""


class Cut(Exception):
    """The time is up, and the session is not finished."""


def host() -> dict[str, str]:
    """Return what tells this machine, as it was started, and its GPUs from others."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except OSError:
        listed = ""
    return {"boot": boot.read_text(encoding="ascii").strip() if boot.exists() else "", "gpus": listed.strip()}


class Parts:
    """The parts that a folder holds, of one question on one machine."""

    def __init__(self, folder: Path, question: Mapping[str, Any], here: Mapping[str, str]) -> None:
        """SystemExit where the folder holds the parts of another question, or of another machine."""
        self._path = folder / "parts.jsonl"
        self._head = {"question": dict(question), "host": dict(here)}
        self.known: list[Part] = []
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            head, *lines = map(json.loads, self._path.read_text(encoding="utf-8").splitlines())
            for name, now in self._head.items():
                if head[name] != now:
                    sys.exit(f"{self._path}: {name}: was {head[name]}, and is {now}; name another folder")
            self.known = [Part(**line) for line in lines]

    def of(self, which: str, pair: int) -> list[Part]:
        """Return the parts of a session."""
        return [part for part in self.known if (part.which, part.pair) == (which, pair)]

    def add(self, part: Part) -> None:
        """Keep a part."""
        self.known.append(part)
        lines = [self._head, *map(asdict, self.known)]
        files.write_atomic(self._path, "".join(f"{json.dumps(line)}\n" for line in lines).encode())


def seconds_of(began: float, ended: float, lines: Iterable[str], *, again: bool, done: bool) -> float:
    """Return the seconds that count of a call that ran from `began` to `ended` (of the epoch), by its session's log.

    `again` says that it went on with a session, `done` that it finished it.
    """
    starts, ends = [], []
    for line in lines:
        record = json.loads(line) if line.endswith("\n") else {}
        if record.get("kind") in ("start", "end"):
            at = datetime.fromisoformat(record["time"]).timestamp()
            if at >= began:
                (starts if record["kind"] == "start" else ends).append(at)
    first = min(starts, default=ended) if again else began
    last = ended if done else max(ends, default=first)
    return max(0.0, last - first)


def run(code: Path, workspace: Path, asked: Sequence[str], env: Mapping[str, str], until: float) -> tuple[float, bool]:
    """Begin a session of `zmlx run ASKED` with the code of a checkout in its workspace, or go on with the one there.

    Returns the seconds that count, and whether it is finished; it is ended at `until` (time.monotonic).
    """
    logs = list(workspace.glob("capsules/*/events.jsonl"))
    command = ["run", asked[0], "--resume", logs[0].parent.name] if logs else ["run", *asked]
    if not workspace.exists():
        _zmlx(code, ["init", str(workspace)], env).wait()
    began = time.time()
    child = _zmlx(code, [*command, "--workspace", str(workspace)], env)
    try:
        child.wait(None if math.isinf(until) else max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.terminate()
        child.wait(_ENDS_S)
    ended, done = time.time(), child.returncode == 0
    if not done and time.monotonic() < until:
        sys.exit(f"{code}: zmlx {' '.join(command)} ended with {child.returncode}: {workspace}.log says why")
    logs = logs or list(workspace.glob("capsules/*/events.jsonl"))
    lines = logs[0].read_text(encoding="utf-8").splitlines(keepends=True) if logs else []
    return seconds_of(began, ended, lines, again=command[2:3] == ["--resume"], done=done), done


def _zmlx(code: Path, arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start zmlx; what it prints goes to a file beside the workspace, which its last argument names."""
    path = os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH"))))
    with Path(f"{arguments[-1]}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments], cwd=code, env={**env, "PYTHONPATH": path}, stdout=log,
            stderr=log,
        )  # fmt: skip
