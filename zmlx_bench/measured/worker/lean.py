"""Imports mlx-lm's loop without what only makes text: transformers, and PyTorch, TensorFlow or Flax, which that imports
where they are installed. They take seconds of every process and no part in a token."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

LOOP = "mlx_lm.generate"
_TEXT = "transformers"


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
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        return spec_from_loader(name, self, is_package=True) if _is_of(name, _TEXT) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def import_loop() -> None:
    """Import mlx-lm's loop, whole where this mlx-lm needs more of transformers to be imported than its names.

    From then on `transformers` is what it always is: whoever imports it gets it. Does nothing where either is
    imported already.
    """
    if _TEXT in sys.modules or LOOP in sys.modules:
        importlib.import_module(LOOP)
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(LOOP)
    except Exception:  # noqa: BLE001 - whatever it asked of a class that is empty; a fault of its own comes again
        _forget(LOOP.partition(".")[0])
    finally:
        sys.meta_path.remove(finder)
        _forget(_TEXT)
    importlib.import_module(LOOP)


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if _is_of(name, package)]:
        del sys.modules[name]


def _is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")
