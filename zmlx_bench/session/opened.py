"""Holds a worker to the files that its arm's identity covers: one that it opened beside them fails the arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zmlx_bench.catalog import families
from zmlx_bench.catalog.found import kernel_sources
from zmlx_bench.catalog.measured_path import beside_path, path_sources
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.process import heard_path
from zmlx_bench.schema.plan import Arm
from zmlx_bench.session.tally import BrokenProtocol


def known_to(catalog: Catalog, arm: Arm) -> frozenset[Path]:
    """Return the files that an arm's worker may open, of any backend: what is read at import and runs on another
    backend is named so. Files of the measured room that are no part of the path may be imported, not used."""
    folder = families.folder(catalog.family, catalog.workspace).resolve()
    kernels = catalog.workspace.kernels.resolve()
    names = [kernel.kernel for kernel in arm.variant.kernels] if arm.variant is not None else []
    found = [kernel_sources(kernels, name, None) for name in names]
    path = path_sources(folder, [one for sources in found for one in sources.outside])
    return frozenset(
        [
            *(file for sources in found for file in sources.files),
            *path.values(),
            *beside_path(),
            *(home / name for home in (folder, folder.parent) for name in ("__init__.py", families.FACTS)),
        ]
    )


def check(files: Sequence[str], known: frozenset[Path], root: Path) -> None:
    """Raise BrokenProtocol for a file that is not known, named from the workspace's `root`."""
    for file in map(heard_path, files):
        if file not in known:
            shown = file.relative_to(root) if file.is_relative_to(root) else file
            raise BrokenProtocol(
                f"opened {shown.as_posix()}, which its kernels do not import: its evidence would not be bound to it"
            )
