"""Which files a kernel and the measured path are made of: found from their imports, never declared.

A kernel begins at `kernels/<name>/kernel.py`; relative imports are followed, those inside functions too, through the
folders of `kernels/` and `kernels/_lib/`. The texts (`.metal`, `.cu`, ...) of a folder belong to it whole, because a
text is read by a path that no import names. Which backend a file is for, its name says: see `backends_of`.
Pure standard library.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.catalog.meaning import PYTHON, is_source

KERNELS = "zmlx_kernels"
"""The package under which a workspace's kernels are imported."""
LIBRARIES = "_lib"
NOT_SOURCES = frozenset({"__pycache__", "build", ".DS_Store"})
"""Generated, or nobody's code."""


@dataclass(frozen=True)
class Import:
    """One import: `from module import names` at `level` dots, or `import module` (no names)."""

    module: str
    names: tuple[str, ...]
    level: int


def backends_of(path: Path) -> tuple[str, ...]:
    """Return the backends that a file is for, by its name; none for a file of every backend.

    `.cu` and `cuda*` are CUDA's; `.metal` and `metal*` are Metal's; `.gpu` is a body in Metal's words that both take.
    Else `.cpp`, `.inl`, and `.h` beside a `.cpp` are the CPU's native code. A CMakeLists.txt builds either's.
    """
    name = path.name
    if path.suffix == ".cu" or name.startswith("cuda"):
        return ("cuda",)
    if path.suffix == ".metal" or name.startswith("metal"):
        return ("metal",)
    if path.suffix == ".gpu":
        return ("metal", "cuda")
    native = path.suffix in (".cpp", ".inl") or (path.suffix == ".h" and any(path.parent.glob("*.cpp")))
    return ("cpu",) if native else ()


def is_for(path: Path, backend: str | None) -> bool:
    """Return whether a file is one of `backend`'s; of None every file is."""
    return backend is None or not backends_of(path) or backend in backends_of(path)


def imports_of(path: Path) -> tuple[Import, ...]:
    """Return every import of a Python file, also those inside functions; SyntaxError where it is no Python."""
    stat = path.stat()
    return _imports(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1024)
def _imports(path: Path, _changed_ns: int, _size: int) -> tuple[Import, ...]:
    found: list[Import] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8-sig"), filename=path.name)):
        if isinstance(node, ast.ImportFrom):
            found.append(Import(node.module or "", tuple(name.name for name in node.names), node.level))
        elif isinstance(node, ast.Import):
            found += [Import(name.name, (), 0) for name in node.names]
    return tuple(found)


def modules_of(root: Path, parts: Iterable[str], names: Iterable[str]) -> Iterator[Path]:
    """Return the files that importing `names` from the module `parts` under `root` runs: packages on the way too."""
    at = root
    for part in parts:
        yield from _existing(at / "__init__.py")
        at = at / part
    yield from _existing(at.with_name(f"{at.name}.py"))
    if at.is_dir():
        yield from _existing(at / "__init__.py")
        for name in names:
            yield from _existing(at / f"{name}.py")
            yield from _existing(at / name / "__init__.py")


def _existing(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path


def relative(root: Path, path: Path, found: Import) -> Iterator[Path]:
    """Return the files under `root` that an import with dots in the file `path` runs; none where it leads out of it."""
    base = path.parent
    for _ in range(found.level - 1):
        base = base.parent
    if base.is_relative_to(root):
        parts = [*base.relative_to(root).parts, *filter(None, found.module.split("."))]
        yield from modules_of(root, parts, found.names)


@dataclass(frozen=True)
class KernelSources:
    """What a kernel is made of."""

    files: tuple[Path, ...]
    """Sorted; Python that is reached, and the texts of the folders that it lies in."""
    outside: tuple[Import, ...]
    """Its imports from elsewhere, among them the harness."""


def kernel_sources(kernels: Path, name: str, backend: str | None) -> KernelSources:
    """Find a kernel's files under the folder `kernels`; of one backend, or of all where `backend` is None."""
    reached: set[Path] = set()
    outside: list[Import] = []
    waiting = [kernels / name / "kernel.py"]
    while waiting:
        path = waiting.pop()
        if path in reached or not is_for(path, backend):
            continue
        reached.add(path)
        for found in imports_of(path):
            head, _, tail = found.module.partition(".")
            if found.level:
                waiting += relative(kernels, path, found)
            elif head == KERNELS:
                waiting += modules_of(kernels, filter(None, tail.split(".")), found.names)
            else:
                outside.append(found)
    texts = {text for folder in {_folder(kernels, path) for path in reached} for text in _texts(folder, backend)}
    return KernelSources(tuple(sorted(reached | texts)), tuple(outside))


def _folder(kernels: Path, path: Path) -> Path:
    """Return the kernel's or library's folder that a file lies in; for a file above them all, nothing is read."""
    parts = path.relative_to(kernels).parts
    depth = 2 if parts[0] == LIBRARIES else 1
    return kernels.joinpath(*parts[:depth]) if len(parts) > depth else path


def _texts(folder: Path, backend: str | None) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        generated = NOT_SOURCES.intersection(path.relative_to(folder).parts)
        if path.is_file() and not generated and is_source(path) and path.suffix not in PYTHON and is_for(path, backend):
            yield path
