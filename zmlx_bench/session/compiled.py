"""What MLX compiles in a session's processes: once, and once for all sessions of this MLX on this architecture.

MLX keeps the kernels that it fuses on the CPU, and PTX on CUDA, as files under the temporary folder, by the names of
what they compute. It writes them where it reads them: a process could load what another has half written, or what
was half written when it was killed, and whoever may write there could put anything in their place. So each session's
processes have a temporary folder of its own. It begins with what earlier sessions of the user compiled, each file
checked against its hash, and what a process that ended well has added goes back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from zmlx_bench.machine.backend import installed
from zmlx_bench.measured.ahead.modules import CODE, KERNELS, READ, unchanged
from zmlx_bench.measured.user_cache import user_cache_path

_FOLDERS = "mlx-*"
"""Of which there is one for each MLX and architecture."""
_MLX = "mlx"
"""MLX's folder in the temporary one."""
MARKS = "ahead"
"""Beside it, what says which files a variant's kernels are."""
_SOURCES = {".cpp", ".cu"}
_PARTS = {READ, KERNELS, CODE}
"""Ends of the files of a compiled module of CUDA, which MLX needs all or none of."""
MOST_BYTES = 256 * 2**20
"""Of the files kept for an MLX and architecture; a CPU's kernel takes 20 kB, a GPU's some hundred."""
UNUSED_S = 90 * 24 * 3600.0
"""After which what was kept for other sessions, and none has used, is removed, seconds."""
_BEGUN_S = 24 * 3600.0
"""After which a copy that was begun and not named is somebody's who was killed, seconds."""


class Compiled:
    """A temporary folder for the processes of a session, one after the other; use it as a context manager.

    What cannot be kept or read is compiled again: no error comes of it.
    """

    def __init__(self, store: Path | None = None) -> None:
        """`store` is where files are kept, by default the user's."""
        self._kept = store or place()
        self._temporary = tempfile.TemporaryDirectory(prefix="zmlx-session-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self._known: set[Path] = set()

    def __enter__(self) -> Compiled:
        with contextlib.suppress(OSError):
            _take_out(self._kept, self.folder)
        with contextlib.suppress(OSError):
            prune(self._kept, MOST_BYTES)
        self._known.update(_made(self.folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a process finds the folder."""
        return {"TMPDIR": str(self.folder)}

    def ended(self, *, well: bool) -> None:
        """Keep what a process has added; where it failed, remove what it has not marked: it may be half a file."""
        new = [path for path in _made(self.folder) if path not in self._known]
        with contextlib.suppress(OSError):
            if not well:
                marked = self._marked(new)
                for path in set(new) - marked:
                    path.unlink()
                new = sorted(marked)
            for unit in _units(new):
                _keep(unit, self.folder, self._kept)
        self._known.update(new)

    def _marked(self, new: Iterable[Path]) -> set[Path]:
        """Return the marks among new files, and those that they name: each was written whole, its mark last."""
        marks = [path for path in new if path.parent.name == MARKS and self.holds(path.name)]
        return {*marks, *(self.folder / name for mark in marks for name in self._names(mark.name))} & set(new)

    def holds(self, mark: str) -> bool:
        """Return whether all files are there that belong to what is called `mark`."""
        try:
            return all((self.folder / name).is_file() for name in self._names(mark))
        except (OSError, ValueError):
            return False

    def _names(self, mark: str) -> list[str]:
        """Return the files, below the folder, of what is called `mark`; OSError or ValueError where it is none."""
        names: list[str] = json.loads((self.folder / _MLX / MARKS / mark).read_bytes())
        return names

    @property
    def empty(self) -> bool:
        """Whether MLX has compiled nothing yet that is here."""
        return not _made(self.folder)


def place(mlx: str | None = None, gpu: str | None = None) -> Path:
    """Return where what an MLX compiled on this architecture is kept for the user; by default the one that is here.

    `gpu` says for which GPU and with what it compiles, where it does so.
    """
    known = (mlx or installed("mlx") or "none", platform.system(), platform.machine(), *([gpu] if gpu else []))
    key = f"{_FOLDERS.rstrip('*')}{'-'.join(known)}"
    return user_cache_path("zmlx") / "compiled" / re.sub(r"[^A-Za-z0-9.+_-]", "_", key)


def prune(kept: Path, most_bytes: int) -> None:
    """Remove what was kept longest ago until the rest takes `most_bytes` at most, and what other MLXs left unused.

    Another process may do the same, or read and keep, at the same time.
    """
    now = time.time()
    entries = []
    for entry in kept.iterdir() if kept.is_dir() else ():
        with contextlib.suppress(OSError):
            since = entry.stat().st_mtime
            if not entry.name.startswith("."):
                entries.append((since, entry.name, sum(f.stat().st_size for f in entry.rglob("*") if f.is_file())))
            elif now - since > _BEGUN_S:
                shutil.rmtree(entry, ignore_errors=True)
    taken = 0
    for _, name, size in sorted(entries, reverse=True):
        taken += size
        if taken > most_bytes:
            _remove(kept / name)
    if kept.is_dir():
        # Tells when this MLX was last used.
        os.utime(kept)
    for other in kept.parent.glob(_FOLDERS):
        with contextlib.suppress(OSError):
            if other != kept and now - other.stat().st_mtime > UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)


def _remove(entry: Path) -> None:
    """Remove a kept file, out of sight before it is taken apart: nobody finds half of it."""
    aside = Path(tempfile.mkdtemp(dir=entry.parent, prefix="."))
    with contextlib.suppress(OSError):
        entry.rename(aside / entry.name)
    shutil.rmtree(aside, ignore_errors=True)


def _made(temporary: Path) -> list[Path]:
    return sorted(path for path in (temporary / _MLX).rglob("*") if path.is_file())


def _take_out(kept: Path, temporary: Path) -> None:
    """Copy every kept unit whose content is what its folder is called by; remove the others."""
    for entry in sorted(kept.iterdir()) if kept.is_dir() else ():
        if entry.name.startswith("."):
            continue
        unit: list[Path] = []
        try:
            unit = sorted(path for path in entry.rglob("*") if path.is_file())
            if not _whole(unit) or _digest(unit) != entry.name:
                shutil.rmtree(entry, ignore_errors=True)
                continue
            if not all(unchanged(path) for path in unit if path.suffix == READ):
                continue
            for path in unit:
                target = temporary / path.relative_to(entry)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        except OSError:
            # Another session removed it meanwhile, or the disk is full: MLX would load what is there of it.
            for path in unit:
                with contextlib.suppress(OSError):
                    (temporary / path.relative_to(entry)).unlink()


def _units(files: Iterable[Path]) -> list[list[Path]]:
    """Return the files that MLX needs together, each unit sorted; sources are not needed."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(files):
        if path.suffix not in _SOURCES:
            found.setdefault(path.with_suffix("") if path.suffix in _PARTS else path, []).append(path)
    return [unit for unit in found.values() if _whole(unit)]


def _whole(unit: list[Path]) -> bool:
    parts = {path.suffix for path in unit}
    if parts & _PARTS:
        return parts <= _PARTS and {KERNELS, CODE} <= parts and len({path.with_suffix("") for path in unit}) == 1
    return len(unit) == 1


def _keep(unit: list[Path], temporary: Path, kept: Path) -> None:
    """Copy a unit into a folder called by its hash, which appears whole or not at all."""
    if (kept / (digest := _digest(unit))).exists():
        return
    kept.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(dir=kept, prefix="."))
    for path in unit:
        target = begun / path.relative_to(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    try:
        os.rename(begun, kept / digest)  # noqa: PTH104 - another session may have been first
    except OSError:
        shutil.rmtree(begun, ignore_errors=True)


def _digest(unit: list[Path]) -> str:
    """Return a file's hash, or that of the hashes of several by their ends."""
    each = [hashlib.sha256(path.read_bytes()).hexdigest() for path in unit]
    if len(each) == 1:
        return each[0]
    lines = "".join(f"{known}  {path.suffix}\n" for known, path in zip(each, unit, strict=True))
    return hashlib.sha256(lines.encode("ascii")).hexdigest()
