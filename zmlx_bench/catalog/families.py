"""The model families that there are: one folder each with `facts.toml` and `family.py`, in the workspace or packaged.

A workspace's family goes before a packaged one of the same name. An architecture without a folder of its own is a
family too, `any-<model_type>`: its sites are found by what its modules are, by the structural family's folder `any`.
Imports no MLX.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput, unknown
from zmlx_bench.measured import families as packaged
from zmlx_bench.printable import shown
from zmlx_bench.schema.base import NonEmpty, NonNegative, StrictModel
from zmlx_bench.workspace import Workspace

FACTS = "facts.toml"
ANY = "any"
"""Folder of the structural family, and stem of its variants: no family that is measured is called so."""
_OF_ANY = re.compile(rf"{ANY}-(?P<model_type>[A-Za-z0-9][A-Za-z0-9_.\-]{{0,59}})")
_PACKAGED = Path(packaged.__file__).resolve().parent
_WITHOUT_FOLDER = f"{ANY}-<model_type> is an architecture without a folder of its own"
TINY = Path(__file__).resolve().parent.parent / "checkpoints"
"""Where the small trained checkpoints lie, `tiny_<family>` each."""


class FamilyFacts(StrictModel):
    """What is known of a family without importing MLX."""

    schema_version: Literal[1]
    title: NonEmpty
    implementation: NonEmpty
    """Class in the folder's family.py."""
    model_type: NonEmpty
    """mlx-lm's architecture, and what `model_type` says in config.json."""
    also: tuple[NonEmpty, ...] = ()
    """What `model_type` says in config.json of other checkpoints that mlx-lm loads as it or around it."""
    hub_id: NonEmpty
    memory_gb: NonNegative
    """Memory that the published checkpoint takes, GB."""
    parameters_b: NonNegative | None = None
    """Parameters of the published model, billions."""
    config: dict[str, Any]
    """Sizes of the published model."""
    quantization: dict[str, dict[str, int | str]] = {}
    """For `synthetic`: how a module's weights are packed, by the end of its path, else as `default` says."""
    gains: dict[str, float] = {}
    """For `synthetic`: what multiplies the standard deviation of a weight, by the end of its name."""
    recipe: int = 1
    """For `synthetic`: another number whenever the seed's weights of this family become others."""
    one_layer: dict[str, Any] = {}
    """What replaces sizes where a decoder layer is built by itself, for `kernels bench`."""


def names(workspace: Workspace | None = None) -> list[str]:
    """Return the names of all families with a folder of their own, the workspace's and the packaged ones."""
    return sorted(_folders(workspace).keys() - {ANY})


def usual(workspace: Workspace | None = None) -> list[str]:
    """Return the families that are meant where none is named: the workspace's own, and those with a trained checkpoint.

    The others' published sizes are more than every machine should have to build, or to download.
    """
    known = _folders(workspace)
    return [name for name in names(workspace) if known[name].parent != _PACKAGED or (TINY / f"tiny_{name}").is_dir()]


def check_name(name: str, workspace: Workspace | None = None, *, or_else: str = _WITHOUT_FOLDER) -> str:
    """Return `name` when there is such a family; UnusableInput names the nearest one otherwise, and says `or_else`."""
    if name == ANY:
        raise UnusableInput(f"model family {ANY!r}: is the folder of many; {or_else}")
    if name not in _folders(workspace) and not is_structural(name, workspace):
        raise unknown("model family", name, names(workspace), f"({or_else})")
    folder(name, workspace)
    return name


def check_folder(name: str, workspace: Workspace | None = None) -> str:
    """Return `name` when there is a family of this name with a folder of its own; UnusableInput otherwise."""
    if name not in names(workspace):
        raise unknown("model family", name, names(workspace), "(one with a folder of its own)")
    return check_name(name, workspace)


def is_structural(name: str, workspace: Workspace | None = None) -> bool:
    """Return whether a family is an architecture without a folder of its own, whose sites are found in the model."""
    return _OF_ANY.fullmatch(name) is not None and name not in _folders(workspace)


def refuse_superseded(name: str, workspace: Workspace | None = None) -> None:
    """Raise UnusableInput for an architecture that has a family with a folder of its own, named as one without."""
    model_type = architecture(name, workspace).model_type
    if (own := of_model_type(model_type, workspace)) is not None and own != name:
        raise UnusableInput(f"model family {name!r}: an architecture with a family of its own, {own}; name that")


def declared_as(name: str, workspace: Workspace | None = None) -> str:
    """Return the stem of the file under `variants/` that declares the variants of the family called `name`."""
    return ANY if is_structural(name, workspace) else name


def folder(name: str, workspace: Workspace | None = None) -> Path:
    """Return the folder of the family called `name`; UnusableInput where there is none or a file of it is missing."""
    known = _folders(workspace)
    if is_structural(name, workspace):
        name = ANY
    if name not in known:
        raise unknown("model family", name, names(workspace))
    found = known[name]
    if not (found / "family.py").is_file():
        raise UnusableInput(f"{found}: has {FACTS} but no family.py with the class that it names")
    return found


def facts(name: str, workspace: Workspace | None = None) -> FamilyFacts:
    """Return the facts of the family called `name`."""
    return _read(folder(name, workspace) / FACTS)


@dataclass(frozen=True)
class Architecture:
    """A family by its name, and the architecture of mlx-lm that it is of."""

    name: str
    model_type: str
    also: tuple[str, ...] = ()
    """What else `model_type` says in config.json of its checkpoints."""

    @property
    def tiny(self) -> Path | None:
        """The folder of its small trained checkpoint, None where it has none."""
        found = TINY / f"tiny_{self.name}"
        return found if found.is_dir() else None


@dataclass(frozen=True)
class Known(Architecture):
    """A family with a folder of its own."""

    facts: FamilyFacts = field(kw_only=True)


def known(name: str, workspace: Workspace | None = None) -> Known:
    """Return the family called `name`, which has a folder of its own."""
    found = facts(name, workspace)
    return Known(name, found.model_type, found.also, facts=found)


def architecture(name: str, workspace: Workspace | None = None) -> Architecture:
    """Return the family called `name`, whether it has a folder of its own or not."""
    of_any = _OF_ANY.fullmatch(name)
    if of_any is not None and is_structural(name, workspace):
        return Architecture(name, of_any["model_type"])
    return known(name, workspace)


def named_by(model_type: str, workspace: Workspace | None = None) -> str:
    """Return the family of an architecture; UnusableInput for a `model_type` that cannot stand in a family's name."""
    found = of_model_type(model_type, workspace) or f"{ANY}-{model_type}"
    if found not in names(workspace) and _OF_ANY.fullmatch(found) is None:
        raise UnusableInput(
            f"model_type: is {shown(model_type)}; must be letters, digits, '_', '.' and '-', "
            "60 at most, as mlx-lm's are"
        )
    return found


def of_model_type(model_type: str, workspace: Workspace | None = None) -> str | None:
    """Return the family of an mlx-lm architecture, None where there is none."""
    known = _folders(workspace)
    # The workspace's come first here too.
    for name in sorted(known.keys() - {ANY}, key=lambda one: (known[one].parent == _PACKAGED, one)):
        found = facts(name, workspace)
        if model_type in (found.model_type, *found.also):
            return name
    return None


@cache
def _read(path: Path) -> FamilyFacts:
    return files.read_toml(path, FamilyFacts)


def _folders(workspace: Workspace | None) -> dict[str, Path]:
    roots = [_PACKAGED] if workspace is None else [_PACKAGED, workspace.families]
    return {path.parent.name: path.parent for root in roots for path in root.glob(f"*/{FACTS}")}
