"""The environments of a bisection: each holds everything but the package at what the others have, where that fits."""

from __future__ import annotations

from collections.abc import Sequence

from zmlx_bench.bisect.index import Release
from zmlx_bench.environments.asked import asked
from zmlx_bench.environments.kept import Made
from zmlx_bench.environments.make import Say, able
from zmlx_bench.errors import CannotHere
from zmlx_bench.schema.bisection import BisectedVersion
from zmlx_bench.schema.environment import Environment
from zmlx_bench.workspace import Workspace

_OTHER = {"mlx": "mlx-lm", "mlx-lm": "mlx"}
_BUILDS = ("mlx-cpu", "mlx-metal", "mlx-cuda-12", "mlx-cuda-13")
"""Distributions that go with a version of MLX."""


def texts(workspace: Workspace, package: str, releases: Sequence[Release], say: Say) -> tuple[BisectedVersion, ...]:
    """Return by what the environment of each release is asked for; both ends' are made.

    MLX and mlx-lm are as they are here. Where an end does not go with the other one as it is here, that is held at the
    version that goes with the older end; where the newer end does not go with that, it is left free, and what differs
    is told. CannotHere where an end cannot be had.
    """
    ends = (releases[0], releases[-1])
    older, newer = sorted(ends, key=lambda one: one.version)
    other = _OTHER.get(package)
    try:
        return _made(workspace, package, releases, ends, "", say)
    except CannotHere as error:
        if other is None:
            raise
        say(f"{error}; with another {other}")
    free = place(workspace, _text(package, older, other), say)
    version = free.environment.version(other.replace("-", "_"))
    try:
        return _made(workspace, package, releases, (newer, older), f"{other}=={version}", say)
    except CannotHere as error:
        say(f"{error}; with whatever {other} goes with each")
    return _made(workspace, package, releases, ends, other, say)


def place(workspace: Workspace, text: str, say: Say) -> Made:
    """Return an environment, made where it is not there; CannotHere where it cannot be had or measures nothing."""
    return able(asked(workspace, text), say)


def beside(environment: Environment, package: str) -> dict[str, str]:
    """Return the version of everything in an environment but the package and what comes with it."""
    own = {package, *(_BUILDS if package == "mlx" else ())}
    return {one.name: one.version for one in environment.distributions if one.name not in own}


def _made(
    workspace: Workspace, package: str, releases: Sequence[Release], ends: Sequence[Release], other: str, say: Say
) -> tuple[BisectedVersion, ...]:
    for end in ends:
        place(workspace, _text(package, end, other), say)
    return tuple(BisectedVersion(version=str(one.version), environment=_text(package, one, other)) for one in releases)


def _text(package: str, release: Release, other: str) -> str:
    one = f"{package}=={release.version}" if release.wheel is None else str(release.wheel)
    return f"{other},{one}" if other else one
