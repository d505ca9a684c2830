"""Old import paths of kernels and families work for one release and say where the names are now."""

from __future__ import annotations

import importlib
import sys

import pytest

MOVED = {
    "patch.contract": "zmlx_bench.measured.api",
    "patch.host": "zmlx_bench.measured.api",
    "patch.loader": "zmlx_bench.measured.loader",
    "families.base": "zmlx_bench.measured.api",
    "families.decode": "zmlx_bench.measured.api",
    "families.linear": "zmlx_bench.measured.api",
}


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_path_gives_the_same_objects(old: str, new: str) -> None:
    sys.modules.pop(f"zmlx_bench.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"zmlx_bench.{old} has moved to {new}"):
        module = importlib.import_module(f"zmlx_bench.{old}")
    now = importlib.import_module(new)
    shared = [name for name in module.__all__ if hasattr(now, name)]
    assert shared
    assert all(getattr(module, name) is getattr(now, name) for name in shared)
