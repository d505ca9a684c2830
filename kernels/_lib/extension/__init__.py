"""C++ extensions of mlx: where a build lies, what is missing to make one, and its module. `build.py` compiles them.

A build is for one version of mlx, one Python and one text of its sources, and lies in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from zmlx_bench.measured.user_cache import user_cache_path

MLX_VERSION = "0.32.4"
NANOBIND_VERSION = "3.0.1"


class NotBuilt(Exception):
    """The extension cannot be used here; the message is one plain sentence that says what to do."""


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Extension:
    """What a folder of sources becomes: `CMakeLists.txt`, `src/` and headers in `absent/`."""

    called: str
    """The beginning of a sentence about it: "the native kernels are"."""
    module: str
    source: Path
    cache: str
    """Its folder among the user's caches of zmlx."""
    variable: str
    """The environment variable that names another folder."""
    to_run: Callable[[], str] = _nothing
    """One sentence saying what it lacks here even where it is built; empty when nothing."""
    to_build: Callable[[], str] = _nothing
    """One sentence saying what a build lacks here beside a compiler, cmake, nanobind and mlx; empty when nothing."""

    def source_key(self) -> str:
        """Return a hash of everything the library is made of, the mlx version and the Python ABI."""
        digest = hashlib.sha256()
        headers = (self.source / "absent").rglob("*.h")
        for path in sorted([self.source / "CMakeLists.txt", *(self.source / "src").iterdir(), *headers]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return f"mlx{MLX_VERSION}-{sysconfig.get_config_var('SOABI')}-{digest.hexdigest()[:16]}"

    def library_path(self) -> Path:
        """Return the library for this interpreter and these sources, built or not."""
        root = Path(os.environ.get(self.variable) or user_cache_path("zmlx") / self.cache)
        return root / self.source_key() / f"{self.module}{sysconfig.get_config_var('EXT_SUFFIX')}"

    def missing_tools(self) -> str:
        """Return one sentence saying what a build needs and does not find here; empty when it has everything."""
        bin_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
            return "there is no C++ compiler (Debian: apt install g++; macOS: xcode-select --install)"
        if shutil.which("cmake", path=bin_path) is None:
            return "cmake is missing (pip install 'zmlx-bench[native]')"
        if importlib.util.find_spec("nanobind") is None:
            return "nanobind is missing (pip install 'zmlx-bench[native]')"
        found = importlib.metadata.version("nanobind")
        if found != NANOBIND_VERSION:
            return f"nanobind {found} does not fit mlx {MLX_VERSION}, which needs {NANOBIND_VERSION}"
        mlx = importlib.metadata.version("mlx")
        if mlx != MLX_VERSION:
            return f"mlx {mlx} is installed, and {self.called} for mlx {MLX_VERSION}"
        return self.to_build()

    def missing(self) -> str:
        """Return one sentence saying why the module cannot be loaded here and what to do; empty when it can."""
        running = _running()
        if running != MLX_VERSION:
            return f"{self.called} for mlx {MLX_VERSION}, not {running}"
        lacking = self.to_run()
        if lacking or self.library_path().exists():
            return lacking
        tools = self.missing_tools()
        first = f"{tools}, then " if tools else ""
        return f"{self.called} not built: {first}run `{sys.executable} {self.source / 'build.py'}`"

    def load(self) -> ModuleType:
        """Return the module; it never compiles. Raise NotBuilt where there is no build, or it does not load."""
        reason = self.missing()
        if reason:
            raise NotBuilt(reason)
        if self.module in sys.modules:  # loaded under another name of this package; an extension is initialised once
            return sys.modules[self.module]
        spec = importlib.util.spec_from_file_location(self.module, self.library_path())
        if spec is None or spec.loader is None:
            raise NotBuilt(f"{self.library_path()} is no Python extension")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except ImportError as error:
            raise NotBuilt(f"{self.called} not loadable ({error}); build again with --force") from error
        if module.mlx_version != MLX_VERSION:
            raise NotBuilt(f"{self.called} built for mlx {module.mlx_version}, not {MLX_VERSION}")
        sys.modules[self.module] = module
        return module


def _running() -> str:
    """Return the version of the MLX that is loaded; a build does without it."""
    import mlx.core as mx

    return str(vars(mx)["__version__"])
