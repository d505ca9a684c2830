"""Builds the graph extension for the mlx of the running interpreter: `python kernels/_lib/graph/build.py`.

It needs a C++20 compiler, cmake, nanobind 3.0.1 and the headers of CUDA 13 (NVIDIA's wheels suffice), but no nvcc. The
result goes to the user's cache, where `load` finds it; nothing is written beside the sources.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from place import HEADERS_TO_BUILD, MLX_VERSION, MODULE, SOURCE, cuda_include, library_path, missing_tools, package


def build(directory: Path | None = None) -> Path:
    """Compile the extension and return the path of the library.

    Args:
        directory: where the library goes; the cache's place for it by default.

    Raises:
        RuntimeError: a build tool is missing, or the compiler failed.
    """
    missing = missing_tools()
    if missing:
        raise RuntimeError(f"cannot build the decode graph: {missing}")
    target = (directory or library_path().parent).resolve()
    target.mkdir(parents=True, exist_ok=True)
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    with tempfile.TemporaryDirectory(prefix="zmlx-graph-") as work:
        configure = [
            str(cmake),
            "-S",
            str(SOURCE),
            "-B",
            work,
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DZMLX_MLX={package('mlx')}",
            f"-DZMLX_MLX_VERSION={MLX_VERSION}",
            f"-DZMLX_CUDA_INCLUDE={cuda_include(*HEADERS_TO_BUILD)}",
        ]
        for command in (configure, [str(cmake), "--build", work, "--parallel"]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"`{' '.join(command)}` failed:\n{done.stdout[-4000:]}")
        (library,) = Path(work).glob(f"{MODULE}.*")
        # Renamed into place, so that a process never loads half a file.
        fresh = target / f".{library.name}.{os.getpid()}"
        shutil.copy2(library, fresh)
        final = target / library.name
        fresh.replace(final)
    return final


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--force", action="store_true", help="build even where a current build exists")
    arguments = parser.parse_args()
    path = library_path()
    if path.exists() and not arguments.force:
        print(f"current: {path}")
        return 0
    try:
        print(f"built: {build()}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
