"""The measured path: the modules of `zmlx_bench/measured` that run between two tokens, found from their imports.

It begins at what patches the model (`apply`), at the loop (`worker/generate`) and at the family's `family.py`. What
only comes before the first token or after the last is left out, by the list below: it may change without a change of
anybody's identity. A new condition, environment or family is a new file that this path does not import.
Pure standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from zmlx_bench.catalog.found import Import, imports_of, modules_of, relative

PACKAGE = "zmlx_bench.measured"
ROOM = Path(__file__).resolve().parents[1] / "measured"
ROOTS = ("apply.py", "worker/generate.py")
FAMILY = "family.py"

NOT_BETWEEN_TOKENS = {
    "loader.py": "imports the kernels, before the first token",
    "families/registry.py": "finds the family, before the first token",
    "synthetic.py": "makes weights, before the first token",
    "worker/__main__.py": "reads the instructions, warms up and reports what the process used",
    "worker/load.py": "loads the checkpoint and encodes the prompts",
    "worker/audit.py": "forces tokens; nothing there is timed",
    "worker/opened.py": "watches which files are opened; no token opens one",
}
"""Modules of the room that are loading or reporting, and why each is no part of the path."""
NAMES_ONLY = "api.py"
"""Holds names of other modules and no code: an import from it counts as one from where the name is defined."""


def family_folder(workspace: Path, family: str) -> Path:
    """Return the folder of a family: the workspace's own, else the one that came with the package."""
    own = workspace / "families" / family
    return own if own.is_dir() else ROOM / "families" / family


def path_sources(family: Path, also: Iterable[Import] = (), room: Path = ROOM) -> dict[str, Path]:
    """Return the files of the measured path by what they are called in it, for the family in the folder `family`.

    `also` are imports of kernels: what they take from the room runs between two tokens too.
    """
    reached: dict[str, Path] = {}
    waiting = [*(room / root for root in ROOTS), family / FAMILY]
    for found in also:
        waiting += _in_room(room, found)
    while waiting:
        path = waiting.pop()
        name = _name(room, family, path)
        if name in reached or name in NOT_BETWEEN_TOKENS or name == NAMES_ONLY:
            continue
        reached[name] = path
        for found in imports_of(path):
            waiting += _in_room(room, found) if not found.level else relative(_home(room, family, path), path, found)
    return dict(sorted(reached.items()))


def _home(room: Path, family: Path, path: Path) -> Path:
    return family if path.is_relative_to(family) and not family.is_relative_to(room) else room


def _name(room: Path, family: Path, path: Path) -> str:
    """Call a family's files the same wherever its folder lies."""
    if path.is_relative_to(family):
        return f"family/{path.relative_to(family).as_posix()}"
    return path.relative_to(room).as_posix()


def _in_room(room: Path, found: Import) -> Iterator[Path]:
    if found.module != PACKAGE and not found.module.startswith(PACKAGE + "."):
        return
    parts = found.module.split(".")[PACKAGE.count(".") + 1 :]
    names_only = room / NAMES_ONLY
    for path in modules_of(room, parts, found.names):
        if path == names_only:
            for behind in imports_of(path):
                wanted = tuple(name for name in behind.names if name in found.names or not found.names)
                if wanted:
                    yield from _in_room(room, Import(behind.module, wanted, behind.level))
        else:
            yield path
