"""Where a build of the graph extension lies, and what is missing to make one. Imports neither mlx nor the extension."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from zmlx_bench.measured.user_cache import user_cache_path

MODULE = "_zmlx_graph"
MLX_VERSION = "0.32.4"
NANOBIND_VERSION = "3.0.1"
SOURCE = Path(__file__).resolve().parent


def source_key() -> str:
    """Hash of everything the library is made of, the mlx version and the Python ABI: one build for each."""
    digest = hashlib.sha256()
    for path in sorted([SOURCE / "CMakeLists.txt", *(SOURCE / "src").iterdir(), *(SOURCE / "absent").rglob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"mlx{MLX_VERSION}-{sysconfig.get_config_var('SOABI')}-{digest.hexdigest()[:16]}"


def library_path() -> Path:
    """The library for this interpreter and these sources, built or not."""
    root = Path(os.environ.get("ZMLX_GRAPH_DIR") or user_cache_path("zmlx") / "graph")
    return root / source_key() / f"{MODULE}{sysconfig.get_config_var('EXT_SUFFIX')}"


def package(name: str) -> Path | None:
    """The folder of an installed package that may have no __init__.py."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def cuda_include(*needed: str) -> Path | None:
    """The first folder of CUDA's headers that holds all `needed`: NVIDIA's wheels, CUDA_HOME, /usr/local/cuda."""
    wheels = package("nvidia")
    found = [wheels / "cu13" / "include"] if wheels else []
    found += [Path(os.environ[name]) / "include" for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found.append(Path("/usr/local/cuda/include"))
    return next((each for each in found if all((each / name).exists() for name in needed)), None)


HEADERS_TO_BUILD = ("cuda.h", "cuda_runtime.h", "nvrtc.h", "cublasLt.h", "crt/host_config.h")


def missing_tools() -> str:
    """One sentence saying what a build needs and does not find here; empty when it has everything."""
    bin_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        return "there is no C++ compiler (Debian: apt install g++)"
    if shutil.which("cmake", path=bin_path) is None:
        return "cmake is missing (pip install 'zmlx-bench[native]')"
    if importlib.util.find_spec("nanobind") is None:
        return "nanobind is missing (pip install 'zmlx-bench[native]')"
    found = importlib.metadata.version("nanobind")
    if found != NANOBIND_VERSION:
        return f"nanobind {found} does not fit mlx {MLX_VERSION}, which needs {NANOBIND_VERSION}"
    mlx = importlib.metadata.version("mlx")
    if mlx != MLX_VERSION:
        return f"mlx {mlx} is installed and the decode graph is for mlx {MLX_VERSION}"
    if cuda_include(*HEADERS_TO_BUILD) is None:
        return "CUDA's headers are missing (pip install 'mlx[cuda13]' nvidia-cuda-crt)"
    return ""
