"""The model families that there are: one folder each with `facts.toml` and `family.py`, in the workspace or packaged.

A workspace's family goes before a packaged one of the same name. Imports no MLX.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput, unknown
from zmlx_bench.measured import families as packaged
from zmlx_bench.schema.base import NonEmpty, NonNegative, StrictModel
from zmlx_bench.workspace import Workspace

FACTS = "facts.toml"
_PACKAGED = Path(packaged.__file__).resolve().parent
TINY = Path(__file__).resolve().parent.parent / "checkpoints"
"""Where the small trained checkpoints lie, `tiny_<family>` each."""


class FamilyFacts(StrictModel):
    """What is known of a family without importing MLX."""

    schema_version: Literal[1]
    title: NonEmpty
    implementation: NonEmpty
    """Class in the folder's family.py."""
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


def names(workspace: Workspace | None = None) -> list[str]:
    """Return the names of all families, the workspace's and the packaged ones."""
    return sorted(_folders(workspace))


def check_name(name: str, workspace: Workspace | None = None) -> str:
    """Return `name` when there is such a family; UnusableInput names the nearest one otherwise."""
    folder(name, workspace)
    return name


def folder(name: str, workspace: Workspace | None = None) -> Path:
    """Return the folder of the family called `name`; UnusableInput where there is none or a file of it is missing."""
    known = _folders(workspace)
    if name not in known:
        raise unknown("model family", name, known)
    found = known[name]
    if not (found / "family.py").is_file():
        raise UnusableInput(f"{found}: has {FACTS} but no family.py with the class that it names")
    return found


def facts(name: str, workspace: Workspace | None = None) -> FamilyFacts:
    """Return the facts of the family called `name`."""
    return _read(folder(name, workspace) / FACTS)


@dataclass(frozen=True)
class Known:
    """A family that there is."""

    name: str
    facts: FamilyFacts

    @property
    def tiny(self) -> Path | None:
        """The folder of its small trained checkpoint, None where it has none."""
        found = TINY / f"tiny_{self.name}"
        return found if found.is_dir() else None


def known(name: str, workspace: Workspace | None = None) -> Known:
    """Return the family called `name`."""
    return Known(name, facts(name, workspace))


def of_model_type(model_type: str, workspace: Workspace | None = None) -> str | None:
    """Return the family of an mlx-lm architecture, None where there is none."""
    known = _folders(workspace)
    # The workspace's come first here too.
    for name in sorted(known, key=lambda one: (known[one].parent == _PACKAGED, one)):
        if facts(name, workspace).model_type == model_type:
            return name
    return None


@cache
def _read(path: Path) -> FamilyFacts:
    return files.read_toml(path, FamilyFacts)


def _folders(workspace: Workspace | None) -> dict[str, Path]:
    roots = [_PACKAGED] if workspace is None else [_PACKAGED, workspace.families]
    return {path.parent.name: path.parent for root in roots for path in root.glob(f"*/{FACTS}")}
