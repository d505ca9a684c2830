"""The environments of a workspace and of the cache, as `zmlx environments` lists and removes them."""

from __future__ import annotations

from typing import Any

from zmlx_bench.environments import kept, used
from zmlx_bench.environments.asked import Asked, asked, completed, declared
from zmlx_bench.environments.kept import Kept, Made
from zmlx_bench.environments.make import request_of
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.workspace import Workspace

Row = dict[str, Any]


def rows(workspace: Workspace) -> list[Row]:
    """Return every environment that the workspace declares, then what else the cache keeps.

    `made` is null where it is not made; of an interpreter it is its owner's business. Nothing is run.
    """
    cached = {one.key: one for one in kept.every()}
    named: set[str] = set()
    found: list[Row] = []
    for name, spec in declared(workspace).items():
        row: Row = {"name": name, "why": spec.why, "asked": list(spec.requirements) or [spec.python], "wrong": None}
        one = None
        try:
            made = recorded(asked(workspace, name))
            one = None if made is None else cached.get(made.folder.name)
        except UnusableInput as error:
            row["wrong"] = str(error)
        # Several names may have come to the same distributions, which are one environment.
        named |= set() if one is None else {one.key}
        found.append({**row, "by": "requirements" if spec.requirements else "python", **_kept(one)})
    for one in (each for key, each in cached.items() if key not in named):
        environment = one.record.environment
        row = {"name": environment.asked, "why": "", "asked": list(environment.requirements), "wrong": None}
        found.append({**row, "by": "requirements", **_kept(one)})
    return found


def recorded(wanted: Asked) -> Made | None:
    """Return an environment as it was recorded when it was made; None where it is not made, or is its owner's."""
    return kept.by_request(request_of(completed(wanted.requirements))) if wanted.requirements else None


def removed(workspace: Workspace, name: str) -> tuple[str, int]:
    """Remove an environment by its name or its key; return the key and the bytes that it took.

    CannotHere where a session runs in it.
    """
    key = name if any(one.key == name for one in kept.every()) else None
    if key is None:
        wanted = asked(workspace, name)
        if wanted.python is not None:
            raise UnusableInput(f"environment {name}: is its owner's, at {wanted.python}; zmlx removes what it made")
        made = recorded(wanted)
        if made is None:
            raise UnusableInput(f"environment {name}: is not made; `zmlx environments list` says which are")
        key = made.folder.name
    if (user := next(used.users(key), None)) is not None:
        raise CannotHere(f"environment {name}: {user} measures in it; remove it when that has ended")
    return key, kept.remove(key)


def _kept(one: Kept | None) -> Row:
    if one is None:
        return {"key": None, "made": None, "maker": None, "bytes": None, "mlx": None, "mlx_lm": None, "lacks": None}
    environment = one.record.environment
    return {
        "key": one.key, "made": one.record.made, "maker": one.record.maker, "bytes": one.bytes,
        "mlx": environment.version("mlx"), "mlx_lm": environment.version("mlx_lm"), "lacks": environment.lacks,
    }  # fmt: skip
