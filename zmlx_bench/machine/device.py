"""One measurement at a time on a device, of sessions or of kernels: two that share it disturb each other's figures."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from filelock import BaseFileLock, FileLock, Timeout

from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import nvidia
from zmlx_bench.schema.base import Backend


class Taken(CannotHere):
    """Somebody else measures on the device, or is at the session; it can be had once they have ended."""


_PID_APPEARS_S = 1.0
"""A holder writes its process id just after it has the lock."""


def folder() -> Path:
    """Return where this user's locks of devices and sessions lie: on this machine, whatever the workspace."""
    return Path(tempfile.gettempdir()) / f"zmlx-{os.getuid()}"


def take(backend: Backend, *, share: bool = False) -> BaseFileLock | None:
    """Return the held lock of the backend's device; the system frees it when this process ends, however it ends.

    Raises Taken with the process id of the command that holds it. With `share` that one is let be, and None
    is returned.
    """
    path = _path(backend)
    lock = acquired(path)
    if lock is None and not share:
        raise Taken(
            f"{holder_of(path)} measures on this device ({backend}), and two would disturb each other; "
            "wait until it has ended, or insist with --share-device"
        )
    return lock


@contextlib.contextmanager
def hold(backend: Backend, *, share: bool = False) -> Iterator[None]:
    """Hold the backend's device as `take` does, until the block ends."""
    lock = take(backend, share=share)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def holder(backend: Backend) -> str | None:
    """Return who measures on the backend's device now, such as `process 123`; None where nobody does."""
    return held_by(_path(backend))


def held_by(path: Path) -> str | None:
    """Return who has the lock of a file in `folder`, such as `process 123`; None where nobody has it."""
    if not path.exists():
        return None
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return holder_of(path)
    except OSError:
        # `take` refuses such a lock and says what to do.
        return None
    lock.release()
    return None


def acquired(path: Path) -> BaseFileLock | None:
    """Return the lock of a file in `folder`, held and with this process's id beside it; None where another has it.

    Raises CannotHere where it cannot be locked at all. The system frees it when this process ends, however it ends.
    """
    lock = FileLock(path, timeout=0)
    try:
        _own(path.parent)
        lock.acquire()
        path.with_suffix(".pid").write_text(f"{os.getpid()}\n")
    except Timeout:
        return None
    except OSError as error:
        raise CannotHere(
            f"{path}: cannot be locked: {error.strerror or error}; make its folder writable or set TMPDIR"
        ) from None
    return lock


def _path(backend: Backend) -> Path:
    return folder() / f"device-{_device(backend)}.lock"


def _own(place: Path) -> None:
    """Make the folder; refuse one that somebody else put into the shared temporary folder."""
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "its folder is somebody else's")


def _device(backend: Backend) -> str:
    """Return the device's part of a file name: MLX takes the first GPU that CUDA shows it."""
    if backend != "cuda":
        return backend
    gpu = nvidia.first_visible() or "none"
    return f"cuda-{''.join(c for c in gpu if c.isalnum() or c == '-')}"


def holder_of(path: Path) -> str:
    """Return who has that lock, such as `process 123`."""
    pid_file = path.with_suffix(".pid")
    deadline = time.monotonic() + _PID_APPEARS_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            if psutil.pid_exists(pid):
                return f"process {pid}"
        time.sleep(0.02)
    return "another process"
