"""The native extension: C++ operations on mlx arrays, bit-identical to mlx's own on the CPU.

`load()` returns the extension module; it never compiles. `python kernels/_lib/native/build.py` does.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import ModuleType

from .place import MLX_VERSION, MODULE, SOURCE, library_path, missing_tools


class NotBuilt(Exception):
    """The extension cannot be used here; the message is one plain sentence that says what to do."""


def _running() -> str:
    """Return the version of the MLX that is loaded."""
    import mlx.core as mx

    return str(vars(mx)["__version__"])


def missing() -> str:
    """One sentence saying why the extension cannot be loaded here and what to do; empty when it can."""
    if _running() != MLX_VERSION:
        return f"the native kernels are for mlx {MLX_VERSION}, not {_running()}"
    if library_path().exists():
        return ""
    tools = missing_tools()
    first = f"{tools}, then " if tools else ""
    return f"the native kernels are not built: {first}run `{sys.executable} {SOURCE / 'build.py'}`"


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
        raise NotBuilt(f"the native kernels do not load ({error}); build them again with --force") from error
    if module.mlx_version != _running():
        raise NotBuilt(f"the native kernels were built for mlx {module.mlx_version}, not {_running()}")
    sys.modules[MODULE] = module
    return module
