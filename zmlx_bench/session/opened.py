"""Holds a worker to the files that its arm's identity covers: one that it opened beside them fails the arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from zmlx_bench.catalog import measured_path
from zmlx_bench.catalog.found import kernel_sources
from zmlx_bench.schema.plan import Arm
from zmlx_bench.session.tally import BrokenProtocol
from zmlx_bench.workspace import Workspace

Known = Callable[[Arm], frozenset[Path]]


def known_to(workspace: Workspace, family: str) -> Known:
    """Return known(arm) -> the files that its worker may open, of any backend: what is read and does not run is named
    for another one."""
    folder = measured_path.family_folder(workspace.root, family).resolve()
    kernels = workspace.kernels.resolve()

    def known(arm: Arm) -> frozenset[Path]:
        names = [kernel.kernel for kernel in arm.variant.kernels] if arm.variant is not None else []
        found = [kernel_sources(kernels, name, None) for name in names]
        path = measured_path.path_sources(folder, [one for sources in found for one in sources.outside])
        beside = (*measured_path.NOT_BETWEEN_TOKENS, measured_path.NAMES_ONLY)
        return frozenset(
            [
                *(file for sources in found for file in sources.files),
                *path.values(),
                *(measured_path.ROOM / name for name in beside),
                *(file for home in (folder, folder.parent) for file in (home / "__init__.py", home / "facts.toml")),
            ]
        )

    return known


def check(files: Sequence[str], known: frozenset[Path], root: Path) -> None:
    """Raise BrokenProtocol for a file that is not known, named from the workspace's `root`."""
    for file in map(Path, files):
        if file not in known:
            shown = file.relative_to(root) if file.is_relative_to(root) else file
            raise BrokenProtocol(
                f"opened {shown.as_posix()}, which its kernels do not import: its evidence would not be bound to it"
            )
