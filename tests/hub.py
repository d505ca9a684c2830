"""A hub cache as huggingface_hub lays it out: blobs, and snapshots that link to them."""

from __future__ import annotations

import hashlib
from pathlib import Path

COMMIT = "a" * 40


def snapshot(cache: Path, repo: str, *files: str | Path, links: bool = True) -> Path:
    """Put files, or empty ones of these names, into the snapshot that `main` of `repo` names; return its folder."""
    root = cache / f"models--{repo.replace('/', '--')}"
    folder = root / "snapshots" / COMMIT
    for sub in (folder, root / "blobs", root / "refs"):
        sub.mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    for file in files:
        name, data = (file.name, file.read_bytes()) if isinstance(file, Path) else (file, b"")
        blob = root / "blobs" / hashlib.sha256(data).hexdigest()
        if links:
            blob.write_bytes(data)
            (folder / name).symlink_to(Path("..") / ".." / "blobs" / blob.name)
        else:
            (folder / name).write_bytes(data)
    return folder
