"""The kernels of a workspace: their declarations and the hash of their sources."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.kernel import KernelDeclaration
from zmlx_bench.workspace import Workspace

DECLARATION = "kernel.toml"
_NOT_SOURCE = {"__pycache__", "build", ".DS_Store"}


@dataclass(frozen=True)
class Kernel:
    """A declared kernel and where it lies."""

    name: str
    folder: Path
    declaration: KernelDeclaration


def load(workspace: Workspace) -> dict[str, Kernel]:
    """Read every `kernels/<name>/kernel.toml` of the workspace, by name."""
    found: dict[str, Kernel] = {}
    root = workspace.kernels.resolve()
    for path in sorted(workspace.kernels.glob(f"*/{DECLARATION}")):
        folder = path.parent
        _refuse_links_outside(folder, root)
        if not (folder / "kernel.py").is_file():
            raise UnusableInput(f"{folder}: has {DECLARATION} but no kernel.py with `bind`")
        found[folder.name] = Kernel(folder.name, folder, files.read_toml(path, KernelDeclaration))
    for kernel in found.values():
        for other in kernel.declaration.uses:
            if not (workspace.kernels / other).is_dir():
                raise UnusableInput(f"{kernel.folder / DECLARATION}: uses: there is no folder kernels/{other}")
            _refuse_links_outside(workspace.kernels / other, root)
    return found


def _refuse_links_outside(folder: Path, root: Path) -> None:
    """Raise UnusableInput for code that the workspace does not hold, or that `source_hash` would not follow."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() or _NOT_SOURCE.intersection(path.relative_to(folder).parts):
            continue
        if path.is_dir() or not Path(os.path.realpath(path)).is_relative_to(root):
            raise UnusableInput(
                f"{path}: links to a folder or leads outside the workspace's kernels/; put the kernel's files there"
            )


def source_hash(workspace: Workspace, kernel: Kernel) -> str:
    """Return the SHA-256 over names and contents of the kernel's files and of the folders it uses."""
    digest = hashlib.sha256()
    for name in (kernel.name, *sorted(kernel.declaration.uses)):
        folder = workspace.kernels / name
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not _NOT_SOURCE.intersection(relative.parts) and path.suffix != ".pyc":
                digest.update(f"{name}/{relative.as_posix()}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
