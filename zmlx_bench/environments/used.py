"""Which environments of the cache processes use now: one that a session runs in is not removed under it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock

from zmlx_bench.environments import kept
from zmlx_bench.environments.kept import RECORD, Made
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import device


def use(made: Made) -> BaseFileLock | None:
    """Return a held lock that keeps an environment from being removed until it is released, or this process ends.

    None for one that is its owner's. CannotHere where somebody has removed it.
    """
    if made.folder.parent != kept.root():
        return None
    lock = device.acquired(_files(f"{made.folder.name}-{os.getpid()}-{secrets.token_hex(4)}"))
    if not (made.folder / RECORD).exists():
        if lock is not None:
            lock.release()
        raise CannotHere(f"environment {made.environment.asked}: was removed meanwhile; try again")
    return lock


def users(key: str) -> Iterator[str]:
    """Yield who uses an environment now, such as `process 123`; what ended processes left is removed."""
    for path in sorted(device.folder().glob(_files(f"{key}-*").name)):
        user = device.held_by(path)
        if user is not None:
            yield user
            continue
        for left in (path, path.with_suffix(".pid")):
            left.unlink(missing_ok=True)


def _files(name: str) -> Path:
    return device.folder() / f"environment-{name}.lock"
