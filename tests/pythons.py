"""Environments with an interpreter of their own that borrow the packages of this one, some of them changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.wheels import INSTALLED


def python(folder: Path, *first: Path) -> Path:
    """Make one in which the packages in the folders `first` come before the borrowed ones; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in (*first, INSTALLED)))
    return folder / "bin" / "python"


def install(folder: Path, wheel: Path) -> None:
    """Put the files of a wheel into the environment in `folder`."""
    (site,) = folder.glob("lib/*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def changed_mlx_lm(folder: Path, changes: Mapping[str, tuple[str, str] | None]) -> Path:
    """Copy mlx-lm into a folder with text of its files replaced, or with files left out (None); return the folder."""
    package = folder / "mlx_lm"
    shutil.copytree(INSTALLED / "mlx_lm", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, change in changes.items():
        if change is None:
            (package / name).unlink()
            continue
        text = (package / name).read_text()
        assert change[0] in text, f"{name} has no {change[0]!r} any more"
        (package / name).write_text(text.replace(*change))
    return folder
