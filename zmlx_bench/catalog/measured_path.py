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
CONDITIONS = ("conditions/run.py",)
"""Where the path begins too under any but the default conditions."""
FAMILY = "family.py"

NOT_BETWEEN_TOKENS = {
    "loader.py": "imports the kernels, before the first token",
    "families/loading.py": "imports the family, before the first token",
    "primitives.py": "looks for what MLX has, before the first token",
    "synthetic.py": "makes weights, before the first token",
    "inputs.py": "draws inputs for `kernels bench` and counts the bytes of weights",
    "user_cache.py": "says where a kernel keeps what it compiled",
    "variant.py": "which kernels are asked for, as data",
    "messages.py": "what the supervisor is told around the tokens",
    "worker/__main__.py": "reads the instructions and says why it failed",
    "worker/device.py": "takes the device, before anything else",
    "worker/job.py": "loads, patches and warms up before the first token",
    "environment.py": "says what an environment is, in a process of its own",
    "encode.py": "makes prompts token ids, before any worker starts",
    "survey.py": "finds a model's sites for the plan, before any worker starts",
    "worker/failing.py": "says why a process failed",
    "screening.py": "reads the instructions of `zmlx screen`, whose figures are no evidence",
    "worker/crossover.py": "changes between stock and variants for `zmlx screen`, around the loop",
    "conditions/crossed.py": "conditions for `zmlx screen`, whose figures are no evidence",
    "worker/lean.py": "imports mlx-lm's loop, before anything is loaded",
    "worker/load.py": "loads the checkpoint",
    "worker/audit.py": "forces tokens; nothing there is timed",
    "worker/distance.py": "compares logits for the audit",
    "worker/opened.py": "watches which files are opened; no token opens one",
    "ahead/__main__.py": "compiles kernels in a process of its own, which measures nothing",
    "ahead/answer.py": "lets variants answer in that process",
    "ahead/compiler.py": "compiles in that process",
    "ahead/elf.py": "reads MLX's library in that process",
    "ahead/modules.py": "says where MLX looks for what that process compiled",
    "ahead/nvrtc.py": "calls the compiler in that process",
    "ahead/one.py": "compiles one kernel in a process below that one",
    "ahead/texts.py": "takes the texts of kernels from MLX in that process",
    "ahead/toolkit.py": "finds MLX's headers in that process",
}
"""Modules of the room that are loading or reporting, and why each is no part of the path."""
NAMES_ONLY = "api.py"
"""Holds names of other modules and no code: an import from it counts as one from where the name is defined."""

OLD_NAMES = ("patch", "families")
"""Packages beside the room that hold names of before, for one release: they count like the names above."""


def path_sources(
    family: Path, also: Iterable[Import] = (), room: Path = ROOM, *, conditions: bool = False
) -> dict[str, Path]:
    """Return the files of the measured path by what they are called in it, for the family in the folder `family`.

    `also` are imports of kernels: what they take from the room runs between two tokens too. With `conditions` it is
    the path under any but the default ones.
    """
    reached: dict[str, Path] = {}
    roots = (*ROOTS, *(CONDITIONS if conditions else ()))
    waiting = [*(room / root for root in roots), family / FAMILY]
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


def beside_path(room: Path = ROOM) -> list[Path]:
    """Return the files of the room that a worker imports and that are no part of the path of every arm: those left out
    above, and those behind the names of the public module, whoever uses them."""
    waiting = [room / name for name in (*NOT_BETWEEN_TOKENS, NAMES_ONLY)]
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += [file for found in imports_of(path) for file in _run_by(room, found)]
    return sorted(reached)


def _home(room: Path, family: Path, path: Path) -> Path:
    return family if path.is_relative_to(family) and not family.is_relative_to(room) else room


def _name(room: Path, family: Path, path: Path) -> str:
    """Call a family's files the same wherever its folder lies."""
    if path.is_relative_to(family):
        return f"family/{path.relative_to(family).as_posix()}"
    return path.relative_to(room).as_posix()


def _in_room(room: Path, found: Import) -> Iterator[Path]:
    """Return the files of the room that an import takes something from."""
    for path in (*_run_by(room, found), *_moved(room, found)):
        if path.is_relative_to(room) and path != room / NAMES_ONLY:
            yield path
            continue
        for behind in imports_of(path):
            wanted = tuple(name for name in behind.names if name in found.names or not found.names)
            if wanted:
                yield from _in_room(room, Import(behind.module, wanted, behind.level))


def _run_by(room: Path, found: Import) -> Iterator[Path]:
    """Return the files of the room that an import runs."""
    if found.module == PACKAGE or found.module.startswith(PACKAGE + "."):
        yield from modules_of(room, found.module.split(".")[PACKAGE.count(".") + 1 :], found.names)


def _moved(room: Path, found: Import) -> Iterator[Path]:
    """Return the files that hold a module's names under its path of before."""
    head, *parts = found.module.split(".")
    if head == PACKAGE.partition(".")[0] and parts and parts[0] in OLD_NAMES:
        yield from modules_of(room.parent, parts, found.names)
