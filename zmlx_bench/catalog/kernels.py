"""The kernels of a workspace: their declarations and the hash of their sources."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.catalog.found import LIBRARIES, NOT_SOURCES, kernel_sources
from zmlx_bench.errors import UnusableInput, unknown
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.kernel import KernelDeclaration
from zmlx_bench.workspace import Workspace

DECLARATION = "kernel.toml"


@dataclass(frozen=True)
class Kernel:
    """A declared kernel and where it lies."""

    name: str
    folder: Path
    declaration: KernelDeclaration

    @property
    def most_tokens(self) -> int | None:
        """The largest call that it serves; None for any."""
        most = self.declaration.max_tokens
        return None if most == "any" else most


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
    if found:
        _refuse_links_outside(workspace.kernels / LIBRARIES, root)
    return found


def choose(workspace: Workspace, names: Sequence[str]) -> list[tuple[Kernel, str]]:
    """Return the kernels and modes called `kernel` or `kernel.mode`, or all of them where none is named."""
    known = load(workspace)
    if not names:
        return [(kernel, mode) for kernel in known.values() for mode in kernel.declaration.mode]
    found: list[tuple[Kernel, str]] = []
    for name in names:
        kernel_name, _, mode = name.partition(".")
        if kernel_name not in known:
            raise unknown("kernel", kernel_name, known)
        kernel = known[kernel_name]
        if mode and mode not in kernel.declaration.mode:
            raise unknown(f"mode of {kernel_name}", mode, kernel.declaration.mode)
        found.extend((kernel, one) for one in ([mode] if mode else kernel.declaration.mode))
    return found


def _refuse_links_outside(folder: Path, root: Path) -> None:
    """Raise UnusableInput for code that the workspace does not hold, or that its identity would not follow."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink() or NOT_SOURCES.intersection(path.relative_to(folder).parts):
            continue
        if path.is_dir() or not Path(os.path.realpath(path)).is_relative_to(root):
            raise UnusableInput(
                f"{path}: links to a folder or leads outside the workspace's kernels/; put the kernel's files there"
            )


def source_hash(workspace: Workspace, kernel: Kernel) -> str:
    """Return the SHA-256 over names and bytes of the kernel's sources, as found from its imports for every backend."""
    digest = hashlib.sha256()
    for path in sources(workspace, kernel.name, None):
        digest.update(f"{path.relative_to(workspace.kernels).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sources(workspace: Workspace, kernel: str, backend: Backend | None) -> tuple[Path, ...]:
    """Return the files that a kernel is made of on `backend`, or on any; UnusableInput where one cannot be read."""
    try:
        return kernel_sources(workspace.kernels, kernel, backend).files
    except (SyntaxError, ValueError) as error:
        raise UnusableInput(f"kernels/{kernel}: its imports cannot be read: {error}") from None
