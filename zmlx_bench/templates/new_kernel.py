"""Writes a kernel that works: its folder, its test, and the variants that measure it. Imports no MLX."""

from __future__ import annotations

import contextlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.catalog.variants import RESERVED, Catalog, families_with_variants
from zmlx_bench.errors import UnusableInput
from zmlx_bench.workspace import Workspace

_TEMPLATES = Path(__file__).resolve().parent
_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")


@dataclass(frozen=True)
class Written:
    """What was written, as paths in the workspace."""

    name: str
    files: tuple[str, ...]
    variants: tuple[str, ...]
    families: tuple[str, ...]


def write(workspace: Workspace, name: str) -> Written:
    """Write the kernel `name` with its test, and append its variants to the families' files.

    Raises UnusableInput, with nothing written, for a name that cannot be used or is taken, CannotHere where the disk
    refuses.
    """
    variants = (name, f"{name}_fp32")
    served = families_with_variants(workspace)
    folder, test = workspace.kernels / name, workspace.root / "tests" / "kernels" / f"test_{name}.py"
    _check(workspace, name, variants, served, (folder, test))
    texts = {folder / t.stem: _filled(t, name) for t in sorted((_TEMPLATES / "kernel").glob("*.in"))}
    texts[test] = texts.pop(folder / "test.py")
    declared = [workspace.variants / f"{family}.toml" for family in served]
    before = {path: path.read_bytes() for path in declared}
    added = _filled(_TEMPLATES / "variant.toml.in", name).encode()
    try:
        for path, text in texts.items():
            files.write_atomic(path, text.encode())
        for path, known in before.items():
            files.write_atomic(path, known.rstrip(b"\n") + b"\n" + added)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            test.unlink()
        for path, known in before.items():
            if path.read_bytes() != known:
                files.write_atomic(path, known)
        raise
    shown = tuple(path.relative_to(workspace.root).as_posix() for path in texts)
    return Written(name, shown, variants, tuple(served))


def _check(
    workspace: Workspace, name: str, variants: tuple[str, ...], served: list[str], paths: tuple[Path, ...]
) -> None:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise UnusableInput(
            f"kernel name {name!r}: must begin with a small letter, hold only small letters, digits and '_' "
            f"(50 at most), and not be one of {', '.join(RESERVED)}"
        )
    for path in paths:
        if path.exists():
            raise UnusableInput(f"{path}: is there already; choose another name")
    for family in served:
        declared = {known.lower() for known in Catalog(workspace, family).names()}
        if taken := sorted(declared.intersection(variants)):
            raise UnusableInput(f"variants/{family}.toml: has a variant {taken[0]!r} already; choose another name")


def _filled(template: Path, name: str) -> str:
    return template.read_text(encoding="utf-8").replace("@NAME@", name)
