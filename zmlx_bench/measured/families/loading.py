"""Loads a model family from its folder, wherever that lies."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
import zlib
from pathlib import Path

from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.loader import make_package


def load(folder: Path) -> Family:
    """Return the family in `folder`: the class of its `family.py` that its `facts.toml` names.

    Imports MLX. The folder is a package of its own, so that its files can import each other. ImportError where there
    is no such class; whatever else the import raises comes through.
    """
    path = folder.resolve()
    facts = tomllib.loads((path / "facts.toml").read_text(encoding="utf-8-sig"))
    package = f"zmlx_family_{path.name.replace('.', '_')}_{zlib.crc32(os.fsencode(path)):08x}"
    if package not in sys.modules:
        make_package(package, path)
    module = importlib.import_module(f"{package}.family")
    family: type[Family] | None = getattr(module, facts["implementation"], None)
    if family is None:
        raise ImportError(f"{path / 'family.py'}: has no class {facts['implementation']}, which facts.toml names")
    return family(path.name, facts)
