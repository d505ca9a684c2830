"""The worker's end of the event pipe: JSON lines on a descriptor of its own, so that a library that prints
cannot corrupt them."""

from __future__ import annotations

import os
import select
import threading

from zmlx_bench.schema.base import StrictModel


class Pipe:
    """Writes events, each whole, to an open file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def leave_with_reader(self) -> None:
        """End this process as soon as nobody reads any more: a killed supervisor must not leave a hung worker."""

        def wait() -> None:
            watched = select.poll()
            watched.register(self._descriptor, 0)  # a closed other end is reported unasked
            watched.poll()
            os._exit(1)

        # It sleeps in the system until then, so it takes no time from what is measured.
        threading.Thread(target=wait, daemon=True).start()

    def send(self, event: StrictModel) -> None:
        """Send one event."""
        self._write(event.model_dump_json().encode() + b"\n")

    def token(self, token: int, t_ns: int, margin: float | None) -> None:
        """Send one token; formatted by hand because this runs between two timed tokens."""
        tail = b"" if margin is None else b',"margin":%s' % repr(margin).encode()
        self._write(b'{"event":"token","id":%d,"t_ns":%d%s}\n' % (token, t_ns, tail))

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
