"""What travels to the nodes, by the hash of its bytes: variants, kernels and families of the head's workspace."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.workspace import Workspace

FOLDERS = ("kernels", "variants", "families")
LARGEST = 256 * 1024 * 1024
"""Bytes, packed and unpacked."""
_SKIPPED = {"__pycache__", "build"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEGINNING = (1980, 1, 1, 0, 0, 0)


def pack(workspace: Workspace) -> bytes:
    """Return the parcel of a workspace; the same files make the same bytes."""
    made = io.BytesIO()
    total = 0
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for path in _files(workspace.root):
            files.refuse_outside(workspace.root, path)
            data = files.read_bytes(path)
            total += len(data)
            if total > LARGEST:
                raise UnusableInput(f"{path}: more than {LARGEST >> 20} MiB of kernels and variants do not travel")
            about = zipfile.ZipInfo(path.relative_to(workspace.root).as_posix(), _BEGINNING)
            about.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(about, data)
    return made.getvalue()


def hash_of(data: bytes) -> str:
    """Return what a parcel is called by."""
    return hashlib.sha256(data).hexdigest()


def unpacked(folder: Path, parcel: str) -> Workspace | None:
    """Return the workspace that a parcel is unpacked to in `folder`; None where it is not there."""
    root = folder / parcel
    return Workspace(root) if _SHA256.fullmatch(parcel) and root.is_dir() else None


def unpack(folder: Path, parcel: str, data: bytes) -> Workspace:
    """Unpack a parcel whole or not at all; UnusableInput where it is another, or holds what leads elsewhere."""
    if (there := unpacked(folder, parcel)) is not None:
        return there
    if hash_of(data) != parcel:
        raise UnusableInput(f"parcel {parcel[:12]}: what arrived has another hash; send it again")
    folder.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder, prefix=f".{parcel[:12]}."))
    try:
        _write(fresh, data)
        (fresh / "capsules").mkdir()
        fresh.chmod(0o755)
        try:
            fresh.rename(folder / parcel)
        except OSError:
            # Another process of this node was quicker.
            if unpacked(folder, parcel) is None:
                raise
    except (OSError, zipfile.BadZipFile) as error:
        raise UnusableInput(f"parcel {parcel[:12]}: cannot be unpacked in {folder}: {error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Workspace(folder / parcel)


def _write(root: Path, data: bytes) -> None:
    for name in FOLDERS[:2]:
        (root / name).mkdir()
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        if sum(about.file_size for about in packed.infolist()) > LARGEST:
            raise zipfile.BadZipFile("it is too large")
        for about in packed.infolist():
            parts = PurePosixPath(about.filename).parts
            if about.is_dir() or parts[0] not in FOLDERS or {"..", "/"}.intersection(parts):
                raise zipfile.BadZipFile(f"it names {about.filename!r}")
            path = root.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed.read(about))


def _files(root: Path) -> Iterator[Path]:
    for name in FOLDERS:
        for folder, folders, found in os.walk(root / name):
            folders[:] = sorted(one for one in folders if one not in _SKIPPED)
            yield from (Path(folder) / one for one in sorted(found) if not one.endswith((".pyc", ".lock", ".tmp")))
