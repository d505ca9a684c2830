"""The families that there are: one `<name>.toml` (facts) and one `<name>.py` (sites) each, beside this file."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zmlx_bench import files
from zmlx_bench.errors import unknown
from zmlx_bench.schema.base import NonEmpty, NonNegative, StrictModel

if TYPE_CHECKING:
    from zmlx_bench.measured.families.base import Family

_FOLDER = Path(__file__).resolve().parent


class FamilyFacts(StrictModel):
    """What is known of a family without importing MLX."""

    schema_version: Literal[1]
    title: NonEmpty
    implementation: NonEmpty
    """Class in the module of the family's name."""
    model_type: NonEmpty
    """`model_type` in config.json: mlx-lm's architecture."""
    hub_id: NonEmpty
    memory_gb: NonNegative
    """Memory that the published checkpoint takes, GB."""
    config: dict[str, Any]
    """Sizes of the published model."""
    gains: dict[str, float] = {}
    """For `synthetic`: what multiplies the standard deviation of a weight, by the end of its name."""
    one_layer: dict[str, Any] = {}
    """What replaces sizes where a decoder layer is built by itself, for `kernels bench`."""


def names() -> list[str]:
    """Return the names of all families."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/facts.toml"))


def check_name(name: str) -> str:
    """Return `name` when there is such a family; UnusableInput names the nearest one otherwise."""
    if name not in names():
        raise unknown("model family", name, names())
    return name


@cache
def facts(name: str) -> FamilyFacts:
    """Return the facts of the family called `name`."""
    return files.read_toml(_FOLDER / check_name(name) / "facts.toml", FamilyFacts)


def load(name: str) -> Family:
    """Import the family called `name` (this imports MLX)."""
    module = importlib.import_module(f"zmlx_bench.measured.families.{check_name(name)}.family")
    family: type[Family] = getattr(module, facts(name).implementation)
    return family(name, facts(name).model_dump())
