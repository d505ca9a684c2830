"""Capsules on disk: `capsules/<session>/<name>.json`."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench import files
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import capsule_file_name
from zmlx_bench.workspace import Workspace


def write(workspace: Workspace, capsule: Capsule) -> Path:
    """Write a capsule to its place; return the path."""
    path = workspace.session(capsule.session) / capsule_file_name(capsule)
    files.write_atomic(path, files.dump_json(capsule))
    return path


def read(path: Path) -> Capsule:
    """Read a capsule; UnusableInput names file and field. The content hash is checked by `zmlx check`, not here."""
    return files.read_json(path, Capsule)
