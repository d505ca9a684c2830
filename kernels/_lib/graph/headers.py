"""Where CUDA's headers are."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

TO_BUILD = ("cuda.h", "cuda_runtime.h", "nvrtc.h", "cublasLt.h", "crt/host_config.h")


def package(name: str) -> Path | None:
    """Return the folder of an installed package that may have no __init__.py."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def cuda_include(*needed: str) -> Path | None:
    """Return the first folder with all `needed`: NVIDIA's wheels, CUDA_HOME, /usr/local/cuda."""
    wheels = package("nvidia")
    found = [wheels / "cu13" / "include"] if wheels else []
    found += [Path(os.environ[name]) / "include" for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found.append(Path("/usr/local/cuda/include"))
    return next((each for each in found if all((each / name).exists() for name in needed)), None)
