"""Where a bisection is written down, so that it goes on after whatever ended it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from zmlx_bench import files, locks
from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.bisection import Bisection, BisectionStep
from zmlx_bench.workspace import Workspace

_ASKED = (
    "family", "package", "on", "good", "bad", "tokens", "blocks", "checkpoint", "backend", "seed", "prompts_sha256",
    "wheels",
)  # fmt: skip


def folder(workspace: Workspace) -> Path:
    """Return where bisections lie; it need not be there."""
    return workspace.root / "bisections"


def named(asked: Bisection) -> Bisection:
    """Return the bisection with the name that follows from what is asked: the same question is the same bisection."""
    key = content_hash(asked.model_dump(mode="json", include=set(_ASKED)))[:8]
    family = "".join(part if part.isalnum() else "-" for part in asked.family.rpartition("/")[2])
    return asked.model_copy(update={"bisection": f"{family}-{asked.package}-{asked.on}-{key}"})


def path_of(workspace: Workspace, name: str) -> Path:
    """Return the file of a bisection."""
    return folder(workspace) / f"{name}.json"


def begun(workspace: Workspace, asked: Bisection) -> Bisection:
    """Return the bisection as far as it was taken before; as it is asked where it never was."""
    return files.as_begun(workspace.root, path_of(workspace, asked.bisection), asked, _ASKED)


def write(workspace: Workspace, bisection: Bisection) -> Bisection:
    """Write the bisection as it stands."""
    files.write_atomic(path_of(workspace, bisection.bisection), files.dump_json(bisection))
    return bisection


def with_step(bisection: Bisection, step: BisectionStep) -> Bisection:
    """Return the bisection with what is known of a version now, in the place of what was."""
    kept = [one for one in bisection.steps if one.version != step.version]
    return bisection.model_copy(update={"steps": (*kept, step)})


def alone(workspace: Workspace, name: str) -> AbstractContextManager[None]:
    """Keep others from the same bisection until the block ends; CannotHere where one is at it."""
    return locks.alone(path_of(workspace, name), f"bisection {name}")
