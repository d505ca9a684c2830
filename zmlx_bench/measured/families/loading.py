"""Loads a model family from its folder, wherever that lies."""

from __future__ import annotations

import hashlib
import importlib
import sys
import tomllib
from pathlib import Path

from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.loader import make_package


def load(folder: Path) -> Family:
    """Return the family in `folder`: the class of its `family.py` that its `facts.toml` names.

    Imports MLX. The folder is a package of its own, so that its files can import each other; whatever their import
    raises comes through.
    """
    path = folder.resolve()
    facts = tomllib.loads((path / "facts.toml").read_text(encoding="utf-8"))
    package = f"zmlx_family_{path.name}_{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:8]}"
    if package not in sys.modules:
        make_package(package, path)
    module = importlib.import_module(f"{package}.family")
    family: type[Family] = getattr(module, facts["implementation"])
    return family(path.name, facts)
