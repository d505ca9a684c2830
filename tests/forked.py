"""The command in a process of its own that has its imports made: forked from one that waits.

Of the second of a processor that a command takes to start, most goes into imports, the same ones in hundreds of tests.
What the process does from then on, with its own memory, files, signals and end, is what one that was started does. MLX
is not among what is imported: it may have threads, which a fork does not copy, and a command says what it reads.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = (
    "zmlx_bench.cli.progress", "zmlx_bench.ledger.check.targets", "zmlx_bench.ledger.decide",
    "zmlx_bench.replay.measure", "zmlx_bench.report.html.page", "zmlx_bench.report.overview", "zmlx_bench.screen.run",
    "zmlx_bench.use.command",
)  # fmt: skip
_LONGEST = 1 << 17
_WAITS = "from tests.forked import wait; wait({fd})"


class Forker:
    """A process that forks commands, started with the first of them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """`env` is that of all commands but for their temporary folder: imports may read it."""
        self.env = dict(env)
        self._starting = threading.Lock()
        self._started: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def _channel(self) -> socket.socket:
        with self._starting:
            if self._started is None:
                self._started = self._start()
            return self._started[1]

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = _pair()
        with theirs:
            command = [sys.executable, "-c", _WAITS.format(fd=theirs.fileno())]
            fds = (theirs.fileno(),)
            started = subprocess.Popen(command, env=self.env, cwd=ROOT, stdout=subprocess.DEVNULL, pass_fds=fds)
        return started, ours

    def close(self) -> None:
        """Let it end."""
        if self._started is not None:
            process, channel = self._started
            channel.close()
            process.wait()

    def serves(self, options: Mapping[str, Any]) -> bool:
        """Whether a command with these options of `subprocess.run` is the same when it is forked."""
        named = {**options.get("env", {}), "TMPDIR": self.env.get("TMPDIR")}
        return sys.platform == "linux" and options.keys() <= {"env", "cwd", "timeout"} and named == self.env

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `zmlx` as `command` would, and return what `subprocess.run` returns for it."""
        asked = {"command": [*command], "env": dict(env), "cwd": str(cwd or Path.cwd())}
        answers, theirs = _pair()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, answers:
            with theirs, Path(os.devnull).open() as nothing:
                fds = [theirs.fileno(), nothing.fileno(), out.fileno(), err.fileno()]
                socket.send_fds(self._channel(), [json.dumps(asked).encode()], fds)
            pid = int(answers.recv(16))
            answers.settimeout(timeout)
            try:
                code = int(answers.recv(16))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired([*command], timeout) from None
            return subprocess.CompletedProcess([*command], code, _text(out), _text(err))


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode().replace("\r\n", "\n"))


def wait(fd: int) -> None:
    """Fork a command for everything that is asked on `fd`, until it is closed; in the forked process, run it."""
    from zmlx_bench.cli.main import main

    for name in IMPORTED:
        importlib.import_module(name)
    from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: F401 - which mlx-lm asks of it

    assert threading.active_count() == 1
    assert "mlx" not in sys.modules
    gc.freeze()
    channel = socket.socket(fileno=fd)
    asked_by: dict[int, socket.socket] = {}

    def ended(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while (came := os.waitpid(-1, os.WNOHANG))[0]:
                with asked_by.pop(came[0]) as answers, contextlib.suppress(OSError):
                    answers.send(str(os.waitstatus_to_exitcode(came[1])).encode())

    signal.signal(signal.SIGCHLD, ended)
    while True:
        told, fds, *_ = socket.recv_fds(channel, _LONGEST, 4)
        if not told:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if not pid:
            break
        answers, *standard = fds
        asked_by[pid] = socket.socket(fileno=answers)
        asked_by[pid].send(str(pid).encode())
        for each in standard:
            os.close(each)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for each in (channel, *asked_by.values()):
        each.close()
    _become(json.loads(told), fds)
    try:
        main()
    except SystemExit as left:
        # As Python ends, but that the memory of a process that is gone is left to the system.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(left.code or 0))


def _become(asked: Mapping[str, Any], fds: Sequence[int]) -> None:
    for place, each in enumerate(fds[1:]):
        os.dup2(each, place)
    for each in fds:
        os.close(each)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.orig_argv = asked["command"]
    # As Python has it after `-c` and the code.
    sys.argv = ["-c", *asked["command"][3:]]
