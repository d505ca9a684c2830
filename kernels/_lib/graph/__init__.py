"""Launches that are put together once and started as one CUDA graph: a C++ extension for MLX's CUDA backend.

`load()` returns the extension module; it never compiles. `python kernels/_lib/graph/build.py` does.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import ModuleType

from .place import MLX_VERSION, MODULE, SOURCE, cuda_include, library_path, missing_tools


class NotBuilt(Exception):
    """The extension cannot be used here; the message is one plain sentence that says what to do."""


def missing() -> str:
    """One sentence saying why the extension cannot be loaded here and what to do; empty when it can."""
    import mlx.core as mx

    version = getattr(mx, "__version__", "")
    if version != MLX_VERSION:
        return f"the decode graph is for mlx {MLX_VERSION}, not {version}"
    if not mx.cuda.is_available():
        return "the decode graph needs an NVIDIA GPU and mlx[cuda13]"
    if cuda_include("cuda_bf16.h") is None:
        return "the decode graph needs CUDA's headers (pip install 'mlx[cuda13]', or set CUDA_HOME)"
    if library_path().exists():
        return ""
    tools = missing_tools()
    first = f"{tools}, then " if tools else ""
    return f"the decode graph is not built: {first}run `{sys.executable} {SOURCE / 'build.py'}`"


@cache
def load() -> ModuleType:
    """The extension module.

    Raises:
        NotBuilt: there is no build for this mlx, these sources and this Python, or it does not load.
    """
    reason = missing()
    if reason:
        raise NotBuilt(reason)
    if MODULE in sys.modules:  # loaded under another name of this package; an extension is initialised once
        return sys.modules[MODULE]
    spec = importlib.util.spec_from_file_location(MODULE, library_path())
    if spec is None or spec.loader is None:
        raise NotBuilt(f"{library_path()} is no Python extension")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise NotBuilt(f"the decode graph does not load ({error}); build it again with --force") from error
    if module.mlx_version != MLX_VERSION:
        raise NotBuilt(f"the decode graph was built for mlx {module.mlx_version}, not {MLX_VERSION}")
    sys.modules[MODULE] = module
    return module
