"""A library that carries headers as MLX's CUDA build does, and NVIDIA's compiler where it is installed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

CARRIED = {"config.h": "#pragma once\n#define THREE 3\n", "utils.cuh": '#include "mlx/backend/cuda/device/config.h"\n'}
TEXT = b"""
#include "mlx/backend/cuda/device/utils.cuh"
namespace mlx::core::cu {
__global__ void custom_kernel_triple(const float* a, float* o) { o[threadIdx.x] = THREE * a[threadIdx.x]; }
} // namespace mlx::core::cu
"""


def made(folder: Path, carried: dict[str, str] = CARRIED) -> Path:
    """Compile the library and return its file; its names and how they are mangled are those of MLX's."""
    texts = "".join(
        f'static const char jit_source_{Path(name).stem}[] = R"({text})";\n' for name, text in carried.items()
    )
    names = ", ".join(f'"mlx/backend/cuda/device/{name}"' for name in carried)
    used = ", ".join(f"jit_source_{Path(name).stem}" for name in carried)
    source = folder / "mlx.cpp"
    source.write_text(
        f"namespace mlx::core {{\n{texts}"
        f"extern const char* const names[] = {{{names}}};\nextern const char* const texts[] = {{{used}}};\n}}\n"
    )
    library = folder / "mlx" / "lib" / "libmlx.so"
    library.parent.mkdir(parents=True)
    (folder / "mlx" / "include").mkdir()
    (folder / "nvidia" / "cu13" / "include").mkdir(parents=True)
    compiler = shutil.which("g++") or "c++"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return library


def compiler() -> str | None:
    """Return the file of NVRTC, None where it is not installed."""
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    return next((str(path) for folder in folders for path in Path(folder).glob("cu13/lib/libnvrtc.so.13")), None)
