"""Where imports are kept: `capsules/legacy/<name>.json`, all of one call or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import dump_json, read_json, write_atomic
from zmlx_bench.legacy.registry import import_file
from zmlx_bench.legacy.schema import LegacyImport
from zmlx_bench.workspace import Workspace

FOLDER = "legacy"
"""Under `capsules/`."""


@dataclass(frozen=True)
class Stored:
    """One imported file and whether storing it changed anything."""

    legacy: LegacyImport
    path: Path
    changed: bool


def sources(path: Path) -> tuple[Path, ...]:
    """Return the files to import: `path` itself, or the `.json` and `.jsonl` files of a folder, by name."""
    if not path.is_dir():
        return (path,)
    found = tuple(sorted(p for p in path.iterdir() if p.suffix in (".json", ".jsonl") and p.is_file()))
    if not found:
        raise UnusableInput(f"{path}: holds no .json or .jsonl file")
    return found


def _target(workspace: Workspace, legacy: LegacyImport) -> Path:
    return workspace.capsules / FOLDER / f"{Path(legacy.source_name).stem}.json"


def _check_target(path: Path, legacy: LegacyImport) -> bool:
    """Return whether `path` must be written; refuse to replace the import of another source."""
    if not path.exists():
        return True
    present = read_json(path, LegacyImport)
    if present.source_sha256 != legacy.source_sha256:
        raise UnusableInput(
            f"{path}: holds the import of another file named {present.source_name}; remove it to import this one"
        )
    return present != legacy


def import_into(workspace: Workspace, paths: Sequence[Path]) -> tuple[Stored, ...]:
    """Import all of `paths`; nothing is written unless every one of them can be."""
    imports = [import_file(path) for path in paths]
    targets = [_target(workspace, legacy) for legacy in imports]
    for index, target in enumerate(targets):
        if target in targets[:index]:
            raise UnusableInput(f"{paths[index]}: would be stored as {target.name}, like another file of this import")
    needed = [_check_target(target, legacy) for target, legacy in zip(targets, imports, strict=True)]
    stored = []
    for legacy, target, write in zip(imports, targets, needed, strict=True):
        if write:
            write_atomic(target, dump_json(legacy))
        stored.append(Stored(legacy=legacy, path=target, changed=write))
    return tuple(stored)


def stored_imports(workspace: Workspace) -> tuple[LegacyImport, ...]:
    """Read every import of a workspace, by name; `UnusableInput` names the file that cannot be read."""
    folder = workspace.capsules / FOLDER
    return tuple(read_json(path, LegacyImport) for path in sorted(folder.glob("*.json")))
