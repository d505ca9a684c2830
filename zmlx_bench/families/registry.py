"""The families that there are, by name. The names are data, so that listing them imports no MLX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from zmlx_bench.errors import unknown

if TYPE_CHECKING:
    from zmlx_bench.families.base import Family

FAMILIES = {"qwen3": "Qwen3", "glm47": "Glm47"}
"""Module under `zmlx_bench.families` and class in it."""

MODEL_TYPES = {"qwen3_moe": "qwen3", "glm4_moe_lite": "glm47"}
"""`model_type` of config.json to family."""


def check_name(name: str) -> str:
    """Return `name` when there is such a family; UnusableInput names the nearest one otherwise."""
    if name not in FAMILIES:
        raise unknown("model family", name, FAMILIES)
    return name


def load(name: str) -> Family:
    """Import the family called `name` (this imports MLX)."""
    module = importlib.import_module(f"zmlx_bench.families.{check_name(name)}")
    family: type[Family] = getattr(module, FAMILIES[name])
    return family()
