"""The worker's end of the channel of events: JSON lines on a descriptor of its own, so that a library that prints
cannot corrupt them."""

from __future__ import annotations

import os
import select
import signal
import threading

from zmlx_bench.measured.messages import Event

FLUSH_NS = 100_000_000
"""Tokens wait at most this long for each other: every write wakes the supervisor, which shares the processors."""


class Pipe:
    """Writes events, each whole, to an open file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._flushed_ns = 0

    def leave_with_reader(self) -> None:
        """End this process as soon as nobody reads any more: a killed supervisor must not leave a hung worker."""

        def wait() -> None:
            watched = select.poll()
            # macOS watches nothing that was not asked for. The supervisor never writes, so readable means gone.
            watched.register(self._descriptor, select.POLLIN)
            watched.poll()
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)  # what a kernel forked goes too
            os._exit(1)

        # It sleeps in the system until then, so it takes no time from what is measured.
        threading.Thread(target=wait, daemon=True).start()

    def send(self, event: Event) -> None:
        """Send one event, after the tokens before it."""
        self.line(event.encoded())

    def line(self, data: bytes) -> None:
        """Send one JSON object, after the tokens before it."""
        self._waiting.append(data + b"\n")
        self._flush(0)

    def token(self, token: int, t_ns: int, margin: float | None) -> None:
        """Send one token; formatted by hand because this runs between two timed tokens.

        The first token after another event goes out at once, and so does the last with the event after it, so
        that the supervisor's clock sees both ends of the decode time.
        """
        tail = b"" if margin is None else b',"margin":%s' % repr(margin).encode()
        self._waiting.append(b'{"event":"token","id":%d,"t_ns":%d%s}\n' % (token, t_ns, tail))
        if t_ns - self._flushed_ns >= FLUSH_NS:
            self._flush(t_ns)

    def _flush(self, t_ns: int) -> None:
        self._write(b"".join(self._waiting))
        self._waiting.clear()
        self._flushed_ns = t_ns

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
