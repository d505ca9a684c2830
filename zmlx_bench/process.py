"""A child process that is told what to do on standard input and reports lines on a channel of its own."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

UTF8 = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
"""For the environment of a child that is Python: what it and its libraries read is UTF-8, whatever the locale is."""
_LONGEST_LINE = 1 << 20
_CHUNK = 1 << 16
_DIES_S = 10.0
_TAIL_BYTES = 2000


def told_path(path: Path) -> str:
    """Return a path as a child with `UTF8` has it: the same bytes, whatever the locale makes of them here."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def heard_path(path: str) -> Path:
    """Return the path that a child with `UTF8` has told."""
    return Path(os.fsdecode(path.encode("utf-8", "surrogateescape")))


class Child:
    """One child in a process group of its own; the channel's descriptor is the last of its arguments.

    The channel is a pair of sockets, of which the child only writes. A socket whose other end is gone becomes readable
    on every system, so a child can sleep until then; the writing end of a pipe wakes nobody on macOS.
    """

    def __init__(
        self, command: Sequence[str], told: bytes, output: IO[bytes] | IO[str] | int, env: Mapping[str, str] | None
    ) -> None:
        self._channel, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._channel, selectors.EVENT_READ)
        try:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()
        stdin = self.process.stdin
        if stdin is not None:
            # A child that dies at once closes its end; how it died is told by its exit.
            with contextlib.suppress(BrokenPipeError):
                stdin.write(told)
            with contextlib.suppress(BrokenPipeError):
                stdin.close()

    def read(self, seconds: float) -> tuple[float, list[bytes]] | None:
        """Wait at most `seconds` for lines; return when they came (`time.perf_counter`) and the lines, none in silence.

        None when it will report nothing more: it closed the channel, or has ended and what it forked holds it open.
        ValueError for a line without an end.
        """
        until = time.perf_counter() + seconds
        while True:
            ready = self._selector.select(max(0.0, until - time.perf_counter()))
            now = time.perf_counter()
            if not ready:
                if self.process.poll() is None:
                    return now, []
                if not self._selector.select(0):
                    return None
            data = self._channel.recv(_CHUNK)
            if not data:
                return None
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError("a line without an end")
            if lines:
                return now, lines

    def kill(self, grace_s: float) -> None:
        """End its whole process group, politely first."""
        try:
            if grace_s > 0:
                self.signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(grace_s)
        finally:
            # Also when a second interrupt comes while it is given time.
            self.signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_DIES_S)
            self.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, whatever is left of it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """Close the channel."""
        self._selector.close()
        self._channel.close()


def tail(printed: IO[bytes]) -> str:
    """Return the end of what a process printed: whole lines, where there are such."""
    printed.seek(0, os.SEEK_END)
    start = max(0, printed.tell() - _TAIL_BYTES)
    printed.seek(start)
    text = printed.read()
    lines = text.partition(b"\n")[2] if start else text
    return (lines.strip() or text).decode("utf-8", "replace").strip()


def last_line(printed: bytes) -> str:
    """Return the answer of a Python that prints one line: before it, what runs at its start (a .pth file,
    sitecustomize) may have printed."""
    return (printed.splitlines() or [b""])[-1].decode("utf-8", "replace").strip()


def ending(code: int) -> str:
    """Return how a process with this exit code ended, in words."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
