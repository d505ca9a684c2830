"""Files that several processes write: one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from zmlx_bench import files
from zmlx_bench.errors import CannotHere

TIMEOUT_S = 60.0


@contextlib.contextmanager
def alone(path: Path, what: str, remedy: str = "wait until it has ended", *, wait_s: float = 0) -> Iterator[None]:
    """Keep others from `what` is written at `path` until the block ends.

    CannotHere, with what to do, where one is at it still after `wait_s` seconds.
    """
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise CannotHere(f"another process is at {what}; {remedy}") from None
    except OSError as error:
        raise files.cannot_write(path, error) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing `path` until the block ends. CannotHere when the lock cannot be had."""
    lock = FileLock(f"{path}.lock", timeout=TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise CannotHere(
            f"{path}: another process has held its lock for {TIMEOUT_S:g} s; try again, "
            f"or delete {path.name}.lock where no other zmlx writes it"
        ) from None
    except OSError as error:
        raise files.cannot_write(path, error) from None
    try:
        # A process that was killed while it wrote the file has left this; who has the lock is alone with it.
        for left in path.parent.glob(f".{path.name}{files.TEMPORARY_END}"):
            left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
