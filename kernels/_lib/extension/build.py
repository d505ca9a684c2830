"""Compiles an extension for the mlx of the running interpreter and puts it where `Extension.load` finds it.

It needs a C++20 compiler, cmake and nanobind (the `native` extra of zmlx-bench), and never mlx itself, which may not
load on the machine that builds. Nothing is written beside the sources.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import Extension


def build(extension: Extension, defines: Sequence[str] = (), directory: Path | None = None) -> Path:
    """Compile the extension and return the path of the library.

    Args:
        extension: what is built.
        defines: further cmake definitions, `NAME=VALUE`.
        directory: where the library goes; the cache's place for it by default.

    Raises:
        RuntimeError: a build tool is missing, or the compiler failed.
    """
    missing = extension.missing_tools()
    if missing:
        raise RuntimeError(f"{extension.called} not built: {missing}")
    target = (directory or extension.library_path().parent).resolve()
    target.mkdir(parents=True, exist_ok=True)
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    given = ("CMAKE_BUILD_TYPE=Release", f"Python_EXECUTABLE={sys.executable}", *defines)
    with tempfile.TemporaryDirectory(prefix="zmlx-build-") as work:
        configure = [str(cmake), "-S", str(extension.source), "-B", work, *(f"-D{each}" for each in given)]
        for command in (configure, [str(cmake), "--build", work, "--parallel", str(os.cpu_count() or 1)]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"`{' '.join(command)}` failed:\n{done.stdout[-4000:]}")
        (library,) = Path(work).glob(f"{extension.module}.*")
        # Renamed into place, so that a process never loads half a file.
        fresh = target / f".{library.name}.{os.getpid()}"
        shutil.copy2(library, fresh)
        final = target / library.name
        fresh.replace(final)
    return final


def main(extension: Extension, defines: Sequence[str] = ()) -> int:
    """Command line of an extension's build.py; returns the exit code."""
    parser = argparse.ArgumentParser(description=f"Builds {extension.module} for the mlx of this interpreter.")
    parser.add_argument("--force", action="store_true", help="build even where a current build exists")
    arguments = parser.parse_args()
    path = extension.library_path()
    if path.exists() and not arguments.force:
        print(f"current: {path}")
        return 0
    try:
        print(f"built: {build(extension, defines)}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 4
    return 0
