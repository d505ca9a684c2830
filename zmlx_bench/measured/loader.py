"""Imports `kernels/<name>/kernel.py` of a workspace as part of one package, so that folders can share files."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zmlx_bench.measured.contract import Binding, BindRequest

PACKAGE = "zmlx_kernels"
Bind = Callable[[Any, BindRequest], Binding]


def open_kernels(folder: Path) -> None:
    """Make the kernels under `folder` importable as `zmlx_kernels.<name>`, in place of any earlier folder."""
    known = sys.modules.get(PACKAGE)
    if known is not None and list(known.__path__) == [str(folder)]:
        return
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(PACKAGE + ".")]:
        del sys.modules[name]
    make_package(PACKAGE, folder)


def make_package(name: str, folder: Path) -> None:
    """Make the files of `folder` importable as `<name>.<file>`, with imports relative to each other."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


def load_bind(kernel: str) -> Bind:
    """Return `bind` of the kernel; whatever its import raises comes through."""
    module = importlib.import_module(f"{PACKAGE}.{kernel}.kernel")
    bind: Bind = module.bind
    return bind
