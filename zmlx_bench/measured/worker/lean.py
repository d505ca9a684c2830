"""Imports mlx-lm's loop without what only makes text or fetches files: transformers, with PyTorch, TensorFlow or Flax,
which that imports where they are installed, and huggingface_hub with its HTTP client. They take no part in a token, and
from a tenth of a second to seconds of every process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

LOOP = "mlx_lm.generate"
_APART = ("transformers", "huggingface_hub")
"""A worker reads a folder that the supervisor resolved: nothing is fetched, and no text is made."""


class _Nothing(type):
    """A class whose every attribute is a function that does nothing: mlx-lm registers classes as it is imported."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: None


class _Absent(ModuleType):
    """A module whose every name is a class of which there are no objects."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing(name, (), {})


class _Finder(MetaPathFinder, Loader):
    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        return spec_from_loader(name, self, is_package=True) if _is_of(name, self._packages) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def import_loop() -> None:
    """Import mlx-lm's loop, whole where this mlx-lm needs more of those libraries to be imported than their names.

    From then on they are what they always are: whoever imports them gets them. Only for a process that makes no text
    and fetches nothing. Leaves out none that is imported already, and does nothing where the loop is.
    """
    apart = [name for name in _APART if name not in sys.modules]
    if not apart or LOOP in sys.modules:
        importlib.import_module(LOOP)
        return
    finder = _Finder(apart)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(LOOP)
    except Exception:  # noqa: BLE001 - whatever it asked of a class that is empty; a fault of its own comes again
        _forget([LOOP.partition(".")[0]])
    finally:
        sys.meta_path.remove(finder)
        _forget(apart)
    importlib.import_module(LOOP)


def _forget(packages: Sequence[str]) -> None:
    for name in [name for name in sys.modules if _is_of(name, packages)]:
        del sys.modules[name]


def _is_of(name: str, packages: Sequence[str]) -> bool:
    return name.partition(".")[0] in packages
