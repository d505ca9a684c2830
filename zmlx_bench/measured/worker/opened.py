"""Which files of the workspace and of the measured room this process opens or imports, by Python's audit hook.

A variant's evidence is bound to the files found from its imports; the supervisor compares these with them. What a
kernel opens from C or in a process of its own is not seen. A hook is asked at each open and each import, of which
there are none between two tokens.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOM = Path(__file__).resolve().parents[1]
_INSTALLED = {"site-packages", "dist-packages"}
"""Folders of packages, which a virtual environment inside the workspace has too."""


class Opened:
    """Watches from the moment it is made; a process makes one."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE == os.O_WRONLY:
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - links are followed when it is told
        if path not in self._paths and Path(path).is_file():
            self._paths.add(path)

    def files(self, workspace: Path, passed: Sequence[Path]) -> list[str]:
        """Return the sources opened so far below the workspace and the measured room, sorted, real and absolute.

        A module counts as its source, whether it was compiled before or not. Passed over are the Python environment
        and other installed packages, the rest of this package, and the folders `passed`; but never a file of kernels,
        families or the room.
        """
        modules = {file for module in list(sys.modules.values()) if isinstance(file := _file_of(module), str)}
        workspace = workspace.resolve()
        watched = (workspace / "kernels", workspace / "families", ROOM)
        passed = [path.resolve() for path in (*passed, Path(sys.prefix), Path(sys.base_prefix), ROOM.parent)]
        found = {Path(_source(path)).resolve() for path in self._paths | modules}
        return sorted(
            str(path)
            for path in found
            if any(map(path.is_relative_to, watched))
            or (
                path.is_relative_to(workspace)
                and _INSTALLED.isdisjoint(path.parts)
                and not any(map(path.is_relative_to, passed))
            )
        )


def _file_of(module: object) -> object:
    return getattr(module, "__dict__", {}).get("__file__")


def _source(path: str) -> str:
    """Return the source of a compiled module in a cache; the path itself for everything else."""
    try:
        source = importlib.util.source_from_cache(path)
    except (ValueError, NotImplementedError):
        return path
    return source if Path(source).is_file() else path
