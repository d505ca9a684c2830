"""A workspace's copies of the packaged kernels and variants: which are stale, and bringing them up to date.

A unit is one folder under `kernels/`, one folder or file of `kernels/_lib/`, or one file under `variants/`: it is
replaced whole or left alone, so that no kernel is made of two versions. What was copied is remembered by hash in
`.zmlx-copies.json`, so that an edit is told from an older copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.base import StrictModel
from zmlx_bench.workspace import Workspace, packaged

RECORD = ".zmlx-copies.json"
_SKIPPED = {"__pycache__", "build"}
_OF_EVIDENCE = ("promoted.toml", "identities.toml")
"""Follow from the evidence of one workspace: no other one gets them."""
_REMADE = ("current", "replaced", "added")

State = Literal["current", "replaced", "added", "removed", "kept"]


class Record(StrictModel):
    """What was copied from the package, by its place in the workspace."""

    schema_version: Literal[1] = 1
    units: dict[str, str]
    """SHA-256 of each unit when it was copied."""


@dataclass(frozen=True)
class Unit:
    """One unit, and what an update does with it."""

    name: str
    """Its place in the workspace, with forward slashes."""
    state: State
    """`kept`: edited here, and the packaged one is another than the one it was copied from."""


def remember(workspace: Workspace) -> None:
    """Write down every packaged unit as it lies in the workspace; for a workspace just made."""
    found = {name: digest for name in _names(packaged()) if (digest := _digest(workspace.root / name)) is not None}
    _write(workspace, found)


def compare(workspace: Workspace) -> list[Unit]:
    """Return what an update would do, by name; nothing for the folder that the copies are made from."""
    if workspace.root == packaged().resolve():
        return []
    known = _read(workspace)
    names = sorted({*_names(packaged()), *known})
    return [Unit(name, state) for name in names if (state := _state(workspace, known, name)) is not None]


def stale(workspace: Workspace) -> list[str]:
    """Return the units that an update would change, of a workspace that remembers what was copied."""
    if not (workspace.root / RECORD).exists():
        return []
    return [unit.name for unit in compare(workspace) if unit.state in ("replaced", "removed")]


def update(workspace: Workspace) -> list[Unit]:
    """Bring unedited copies up to date, add new ones, remove those that the package no longer has; keep edits.

    Raises UnusableInput for the folder that the copies are made from, CannotHere where the disk refuses; what was
    done until then is remembered.
    """
    if workspace.root == packaged().resolve():
        raise UnusableInput(f"{workspace.root}: is where the copies are made from; name another workspace")
    units, known = compare(workspace), dict(_read(workspace))
    try:
        for unit in units:
            if unit.state in ("replaced", "added"):
                _replace(packaged() / unit.name, workspace.root / unit.name)
            elif unit.state == "removed":
                _remove(workspace.root / unit.name)
                del known[unit.name]
            if unit.state in _REMADE:
                known[unit.name] = _digest(workspace.root / unit.name) or ""
    except OSError as error:
        raise files.cannot_write(workspace.root, error) from None
    finally:
        _write(workspace, known)
    return units


def _state(workspace: Workspace, known: dict[str, str], name: str) -> State | None:
    here, theirs, copied = _digest(workspace.root / name), _digest(packaged() / name), known.get(name)
    if here == theirs:
        return "current" if here is not None else None
    if here is None:
        # What was copied and is gone was taken out by the user.
        return "added" if copied is None else None
    if here == copied:
        return "removed" if theirs is None else "replaced"
    # A unit of the user's own, or an edit of one that the package has not changed since, is nobody's business.
    return "kept" if theirs is not None and theirs != copied else None


def _names(root: Path) -> Iterator[str]:
    for parent in ("kernels", "kernels/_lib"):
        for folder in sorted((root / parent).iterdir() if (root / parent).is_dir() else ()):
            if folder.is_dir() and folder.name not in {*_SKIPPED, "_lib"}:
                yield f"{parent}/{folder.name}"
    for path in sorted((root / "kernels/_lib").glob("*.py")):
        yield f"kernels/_lib/{path.name}"
    for path in sorted((root / "variants").glob("*.toml")):
        if path.name not in _OF_EVIDENCE:
            yield f"variants/{path.name}"


def _digest(unit: Path) -> str | None:
    if unit.is_file():
        return hashlib.sha256(unit.read_bytes()).hexdigest()
    if not unit.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(p for p in unit.rglob("*") if p.is_file()):
        relative = path.relative_to(unit)
        if not _SKIPPED.intersection(relative.parts):
            digest.update(f"{relative.as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _replace(source: Path, target: Path) -> None:
    """Put a copy of `source` where `target` is; a folder is exchanged by renaming, so that none is half written."""
    if source.is_file():
        files.write_atomic(target, source.read_bytes())
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (target.with_name(f".{target.name}.{os.getpid()}.{which}") for which in ("new", "old"))
    try:
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns(*_SKIPPED))
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        with contextlib.suppress(FileNotFoundError):
            target.unlink()


def _read(workspace: Workspace) -> dict[str, str]:
    path = workspace.root / RECORD
    return files.read_json(path, Record).units if path.exists() else {}


def _write(workspace: Workspace, units: dict[str, str]) -> None:
    record = Record(units=dict(sorted(units.items())))
    files.write_atomic(workspace.root / RECORD, files.dump_json(record))
