"""What an environment is, as its own interpreter says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from zmlx_bench.environments import room
from zmlx_bench.environments.asked import Asked
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine.command import output_of
from zmlx_bench.measured.messages import PROTOCOL
from zmlx_bench.printable import one_line
from zmlx_bench.process import UTF8, last_line
from zmlx_bench.schema.environment import Distribution, Environment, Package
from zmlx_bench.schema.refused import first_error

OLDEST = (3, 11)
_TIMEOUT_S = 120.0
_UNKNOWN = "0" * 64
_VERSION = "import sys; sys.stdout.write('%d.%d.%d' % sys.version_info[:3])"
_PROBE = "zmlx_bench.measured.environment"
_PRIMITIVES = "zmlx_bench.measured.primitives"


Wheels = Mapping[str, tuple[str, ...]]
"""The hashes of what was installed, by the distribution's name."""


def look(
    python: Path, asked: Asked, wheels: Wheels = MappingProxyType({}), requirements: tuple[str, ...] = ()
) -> Environment:
    """Return what the environment of an interpreter is; CannotHere where it does not say."""
    told = _told(python, asked.text)
    if told.get("protocol") != PROTOCOL:
        raise CannotHere(f"environment {asked.text}: speaks protocol {told.get('protocol')}, and this zmlx {PROTOCOL}")
    try:
        found = Environment(
            asked=asked.text,
            requirements=requirements,
            python=told["python"],
            implementation=told["implementation"],
            platform=told["platform"],
            distributions=tuple(
                Distribution(**one, wheel_sha256=wheels.get(one["name"], ())) for one in told["distributions"]
            ),
            packages={name: _package(one) for name, one in told["packages"].items()},
            lacks=None if told["lacks"] is None else one_line(told["lacks"]),
            digest=_UNKNOWN,
        )
    except ValidationError as error:
        raise CannotHere(f"environment {asked.text}: {first_error(error)}") from None
    return found.model_copy(update={"digest": found.digest_of()})


def primitives(python: Path, called: str, names: Sequence[str]) -> dict[str, str | None]:
    """Return which module of the MLX of an interpreter has each primitive, None for none; CannotHere where it does not
    say."""
    with room.handed() as folder:
        return _answer(_run(python, called, folder, "-m", _PRIMITIVES, *names), called) if names else {}


def _package(told: Mapping[str, str]) -> Package:
    commit, dirty = _checkout(Path(told["folder"]))
    return Package(version=told["version"], sha256=told["sha256"], commit=commit, dirty=dirty)


def _checkout(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that holds a package, and whether it differs from it; nothing for one that is
    installed, wherever its environment lies."""
    if {"site-packages", "dist-packages"} & set(folder.parts):
        return None, None
    commit = output_of("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changes = output_of("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


def _told(python: Path, called: str) -> dict[str, Any]:
    with room.handed() as folder:
        # Older ones cannot even read the measured room.
        version = last_line(_run(python, called, folder, "-c", _VERSION).stdout)
        if re.fullmatch(r"\d+\.\d+\.\d+", version) and tuple(map(int, version.split(".")[:2])) < OLDEST:
            raise CannotHere(f"environment {called}: is Python {version}; measured processes need 3.11 or newer")
        return _answer(_run(python, called, folder, "-m", _PROBE), called)


def _answer(done: subprocess.CompletedProcess[bytes], called: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(told := json.loads(last_line(done.stdout)), dict):
            return told
    printed = one_line(done.stderr.decode("utf-8", "replace")) or one_line(done.stdout.decode("utf-8", "replace"))
    said = printed or f"left with code {done.returncode}"
    raise CannotHere(f"environment {called}: its Python does not say what it is: {said}")


def _run(python: Path, called: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            [str(python), *arguments],
            env={**room.variables(os.environ, folder), **UTF8},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = getattr(error, "strerror", None) or f"did not answer within {_TIMEOUT_S:g} s"
        raise CannotHere(f"environment {called}: its Python cannot be run: {why}") from None
