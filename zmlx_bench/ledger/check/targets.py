"""What the paths given to `zmlx check` mean: whole workspaces, parts of one, or a capsule that somebody sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zmlx_bench.errors import UnusableInput
from zmlx_bench.findings.finding import Finding
from zmlx_bench.findings.reading import relative
from zmlx_bench.ledger.check.capsule import check_capsule_file
from zmlx_bench.ledger.check.workspace import Checked, check_session, check_workspace
from zmlx_bench.ledger.evidence import is_legacy
from zmlx_bench.legacy.check import check_legacy_file
from zmlx_bench.legacy.store import FOLDER as LEGACY
from zmlx_bench.workspace import Workspace, find


def check(paths: Sequence[Path], workspace: Path | None, *, rehash: bool = False) -> Checked:
    """Check the workspace, or of the workspaces that hold `paths` only what concerns those.

    With `rehash` the weights that are here are hashed again and held against the evidence.
    """
    if not paths:
        return check_workspace(find(workspace), rehash=rehash)
    parts = [_check_path(path, workspace, rehash=rehash) for path in paths]
    return Checked(
        findings=tuple(sorted({finding for part in parts for finding in part.findings})),
        capsules=sum(part.capsules for part in parts),
        sessions=sum(part.sessions for part in parts),
        rows=sum(part.rows for part in parts),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _check_path(path: Path, workspace: Path | None, *, rehash: bool) -> Checked:
    if not path.exists():
        raise UnusableInput(f"{path}: no such file or folder")
    resolved = path.resolve()
    try:
        home = find(workspace, resolved if resolved.is_dir() else resolved.parent)
    except UnusableInput:
        return _check_alone(resolved)
    if not resolved.is_relative_to(home.root):
        return _check_alone(resolved)
    folder = _session_of(resolved, home)
    checked = check_workspace(home, rehash=rehash) if folder is None else check_session(home, folder, rehash=rehash)
    whole = checked.notes if resolved == home.root or folder is not None else ()
    return replace(checked, findings=_within(checked.findings, resolved, home), notes=whole)


def _session_of(path: Path, workspace: Workspace) -> Path | None:
    """Return the session's folder that `path` is or lies in, if any."""
    if not path.is_relative_to(workspace.capsules) or path == workspace.capsules:
        return None
    folder = workspace.capsules / path.relative_to(workspace.capsules).parts[0]
    return folder if folder.is_dir() and folder.name != LEGACY else None


def _within(findings: Sequence[Finding], path: Path, workspace: Workspace) -> tuple[Finding, ...]:
    part = relative(workspace.root, path)
    if part == ".":
        return tuple(findings)
    return tuple(f for f in findings if f.file == part or f.file.startswith(f"{part}/"))


def _check_alone(path: Path) -> Checked:
    """Check a file outside any workspace: nothing can be said about its session or its matrix row."""
    if path.is_dir():
        raise UnusableInput(f"{path}: no workspace in it or above it; give a workspace, or single files")
    if is_legacy(path):
        return Checked(tuple(sorted(check_legacy_file(path.parent, path))), 0, 0, 0)
    return Checked(tuple(sorted(check_capsule_file(path.parent, path, None).findings)), 1, 0, 0)
