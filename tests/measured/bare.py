"""An environment with Python, mlx and mlx-lm with what mlx-lm needs, and of zmlx the measured room alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import zmlx_bench
from tests.conftest import QUIET_ENV

# The interpreter outside any virtual environment, without the packages that are installed in it.
PYTHON = (str(getattr(sys, "_base_executable", sys.executable)), "-S")


@dataclass(frozen=True)
class Bare:
    """A folder with the packages and the copied room."""

    room: Path
    """The copy of `zmlx_bench/measured`."""
    site: Path

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run Python in it to its end, away from the checkout."""
        path = os.pathsep.join(map(str, (self.room.parents[1], self.site)))
        options = {"env": {**QUIET_ENV, "PYTHONPATH": path}, "cwd": self.site, **options}
        return subprocess.run([*PYTHON, *arguments], capture_output=True, check=False, **options)


def make(folder: Path) -> Bare:
    """Make the environment in an empty folder."""
    source = Path(zmlx_bench.__file__).parent
    package = folder / "code" / "zmlx_bench"
    shutil.copytree(source / "measured", package / "measured", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "__init__.py", package)
    site = folder / "site"
    site.mkdir()
    for found in _needed_by("mlx", "mlx-lm"):
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = site / top
            if not link.exists():
                link.symlink_to(Path(str(found.locate_file(top))).resolve())
    return Bare(package / "measured", site)


def _needed_by(*names: str) -> list[Distribution]:
    # typer is what transformers' own command needs; it brings pydantic, which must not be there.
    left_out = {"typer"}
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue  # another platform's part of mlx
        if one.metadata["Name"] in found or name in left_out:
            continue
        found[one.metadata["Name"]] = one
        needed = [Requirement(text) for text in one.requires or ()]
        # Of mlx's extras its backends; those of others are what nobody asked for.
        waiting.extend(
            r.name
            for r in needed
            if (name == "mlx" and r.name.startswith("mlx-")) or r.marker is None or r.marker.evaluate({"extra": ""})
        )
    return list(found.values())
