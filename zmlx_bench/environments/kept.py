"""The user's cache of environments: a folder each, found by what was asked for."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.measured.user_cache import user_cache_path
from zmlx_bench.schema.environment import Environment, MadeEnvironment

RECORD = "environment.json"
_KEY = re.compile(r"^[0-9a-f]{16}$")
_NAMES = "asked"


@dataclass(frozen=True)
class Made:
    """An environment that is there."""

    environment: Environment
    python: Path
    """Its interpreter."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.python.parents[1]


@dataclass(frozen=True)
class Kept:
    """An environment of the cache."""

    key: str
    folder: Path
    record: MadeEnvironment
    bytes: int


def root() -> Path:
    """Return the folder of all environments, there or not; absolute: their Pythons run in other folders."""
    return user_cache_path("zmlx").absolute() / "environments"


def begun(request: str) -> str:
    """Return what the names of folders begin with in which an environment is being made."""
    return f".{request}-"


def lock(request: str) -> Path:
    """Return the file that the maker of an environment holds."""
    return root() / f".{request}.lock"


def log(request: str) -> Path:
    """Return the file with what its makers printed."""
    return root() / "logs" / f"{request}.log"


def name(request: str, key: str) -> None:
    """Write down which environment a request came to."""
    files.write_atomic(root() / _NAMES / request, f"{key}\n".encode())


def by_request(request: str) -> Made | None:
    """Return the environment that a request came to, as it was recorded; None where it is not whole, or not there."""
    try:
        key = files.read_text(root() / _NAMES / request).strip()
        if not _KEY.fullmatch(key):
            return None
        record = files.read_json(root() / key / RECORD, MadeEnvironment)
    except UnusableInput:
        return None
    return Made(record.environment, root() / key / "bin" / "python")


def every() -> Iterator[Kept]:
    """Yield the environments of the cache, by key."""
    place = root()
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        if _KEY.fullmatch(folder.name):
            with contextlib.suppress(UnusableInput):
                yield Kept(folder.name, folder, files.read_json(folder / RECORD, MadeEnvironment), files.size(folder))


def sweep(request: str) -> None:
    """Remove what makers of an environment left that did not come to the end; to be called by its only maker."""
    for left in root().glob(f"{begun(request)}*"):
        shutil.rmtree(left, ignore_errors=True)


def remove(key: str) -> int:
    """Remove an environment and what names it; return the bytes that it took."""
    folder = root() / key
    taken = files.size(folder)
    # Without its record it is no environment, whatever else is still there.
    (folder / RECORD).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    for request in (root() / _NAMES).glob("*"):
        with contextlib.suppress(UnusableInput):
            if files.read_text(request).strip() == key:
                request.unlink(missing_ok=True)
    return taken
