"""Sessions that may be cut off and gone on with by another call, on one machine: for `session_time.py`.

A folder holds their workspaces, what MLX compiled, and `parts.jsonl`: what was asked on which machine, a line for each
part of a session that a call ran, and one for the part that a call has begun. A part is counted from the command's
start, or where it went on with a session from the start of its first process, to the end of its last process (where
none ended, to the start of its first), or of the command where the session was finished: what a cut-off process had
done, and the preparing of the command that takes it up again, is counted for nobody. What a call had begun that was
killed is counted by the next one.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from zmlx_bench import files

COMMAND = "from zmlx_bench.cli.main import main; main()"
_ENDS_S = 60.0
"""That a command may take to end once it is told to."""
TERMINATED = 128 + signal.SIGTERM
"""Exit code where SIGTERM ended this."""


@dataclass(frozen=True)
class Part:
    """What one call ran of a session."""

    which: str
    pair: int
    seconds: float
    done: bool
    load: float | None
    """The machine's load average at its end; None where the call was killed."""


@dataclass(frozen=True)
class Begun:
    """What a call runs of a session, of which no part is kept yet."""

    which: str
    pair: int
    began: float
    """Seconds of the epoch."""
    again: bool
    """Whether it went on with the session."""


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
        self.begun: Begun | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            head, *lines = map(json.loads, self._path.read_text(encoding="utf-8").splitlines())
            for name, now in self._head.items():
                if head[name] != now:
                    sys.exit(f"{self._path}: {name}: was {head[name]}, and is {now}; name another folder")
            self.known = [Part(**line) for line in lines if "began" not in line]
            self.begun = next((Begun(**line) for line in lines if "began" in line), None)
        self._keep()

    def of(self, which: str, pair: int) -> list[Part]:
        """Return the parts of a session."""
        return [part for part in self.known if (part.which, part.pair) == (which, pair)]

    def begin(self, begun: Begun) -> None:
        """Keep that a part has begun, for the next call where this one is killed."""
        self.begun = begun
        self._keep()

    def add(self, part: Part) -> None:
        """Keep the part that had begun."""
        self.known.append(part)
        self.begun = None
        self._keep()

    def _keep(self) -> None:
        begun = [] if self.begun is None else [self.begun]
        lines = [self._head, *map(asdict, [*self.known, *begun])]
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
    last = ended if done else max(ends, default=min(starts, default=first))
    return max(0.0, last - first)


def left(begun: Begun, workspace: Path) -> Part:
    """Return the part that a killed call had begun; SystemExit where its command still runs."""
    for process in psutil.process_iter(["cmdline"]):
        if str(workspace) in (process.info["cmdline"] or ()):
            sys.exit(f"process {process.pid}, which an earlier call began, is still at {workspace}; end it, or wait")
    seconds = seconds_of(begun.began, begun.began, _log(workspace), again=begun.again, done=False)
    return Part(begun.which, begun.pair, seconds, False, None)


def prepare(code: Path, workspace: Path, asked: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return what begins a session of `zmlx run ASKED` in its workspace, made where missing, or goes on with it."""
    if not workspace.exists():
        _zmlx(code, ["init", str(workspace)], env).wait()
    logs = list(workspace.glob("capsules/*/events.jsonl"))
    return ["run", asked[0], "--resume", logs[0].parent.name] if logs else ["run", *asked]


def run(
    code: Path, workspace: Path, command: Sequence[str], env: Mapping[str, str], until: float, begun: Begun
) -> tuple[float, bool]:
    """Run what `prepare` returned with the code of a checkout.

    Returns the seconds that count, and whether the session is finished; it is ended at `until` (time.monotonic).
    Where SIGTERM or an error ends this, the command is ended too.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        child = _zmlx(code, [*command, "--workspace", str(workspace)], env)
        try:
            child.wait(None if math.isinf(until) else max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end(child)
    finally:
        signal.signal(signal.SIGTERM, before)
    ended, done = time.time(), child.returncode == 0
    if not done and time.monotonic() < until:
        sys.exit(f"{code}: zmlx {' '.join(command)} ended with {child.returncode}: {workspace}.log says why")
    return seconds_of(begun.began, ended, _log(workspace), again=begun.again, done=done), done


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(_ENDS_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _log(workspace: Path) -> list[str]:
    logs = list(workspace.glob("capsules/*/events.jsonl"))
    return logs[0].read_text(encoding="utf-8").splitlines(keepends=True) if logs else []


def _zmlx(code: Path, arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start zmlx; what it prints goes to a file beside the workspace, which its last argument names."""
    path = os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH"))))
    with Path(f"{arguments[-1]}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments], cwd=code, env={**env, "PYTHONPATH": path}, stdout=log,
            stderr=log,
        )  # fmt: skip
