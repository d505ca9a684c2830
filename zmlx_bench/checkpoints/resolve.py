"""Turns `--checkpoint` into a folder (or a recipe) and the identity that evidence is grouped by."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from zmlx_bench.catalog.families import TINY as TINY
from zmlx_bench.catalog.families import Architecture, FamilyFacts, Known, architecture, known
from zmlx_bench.checkpoints import digest, hub
from zmlx_bench.checkpoints import folder as checkpoint_folder
from zmlx_bench.errors import CannotHere, UnusableInput, unknown
from zmlx_bench.machine.backend import installed
from zmlx_bench.printable import clean, encodable, printable
from zmlx_bench.schema.base import CheckpointKind, content_hash
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.plan import Checkpoint
from zmlx_bench.workspace import Workspace

TOKENIZER = Path(__file__).resolve().parent.parent / "data" / "tokenizer"
"""What turns prompts into token ids for a synthetic checkpoint, which has no tokenizer of its own."""
KINDS = ("auto", "tiny", "synthetic", "full")
FILLED = 0.9
"""Share of the memory that weights and cache may take."""


@dataclass(frozen=True)
class Located:
    """A checkpoint ready to be loaded."""

    checkpoint: Checkpoint
    path: Path
    """Its folder; for `synthetic` the one of the tokenizer that goes with it."""
    option: str
    """What `--checkpoint` must say to find it again."""
    context: int | None
    """Longest sequence that it was made for."""
    why: str = ""
    """How `auto` came to it."""


def locate(
    name: str,
    wanted: str,
    machine: Machine,
    *,
    workspace: Workspace | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
    force: bool = False,
    layers: int | None = None,
) -> Located:
    """Find the checkpoint for `--checkpoint WANTED`: auto, tiny, synthetic, full, a folder, or a hub id.

    `name` is the family's, looked up in `workspace` first. `force` builds a synthetic checkpoint on a CPU too;
    `layers` builds only so many of its decoder layers.
    Raises UnusableInput for what cannot be used, CannotHere for what this machine cannot do.
    """
    family = architecture(name, workspace)
    if isinstance(family, Known):
        found = _of_family(family, wanted, machine, _Recipe(seed, layers, force), trust_remote_code)
        if found is not None:
            return found
    elif wanted.split("@")[0] in KINDS:
        raise UnusableInput(
            f"checkpoint {wanted}: {name} is any model of type {family.model_type!r}, and zmlx knows none by name; "
            "give a checkpoint's folder, or a hub id OWNER/NAME"
        )
    if (path := existing(wanted)) is not None:
        return _from_folder(family, "path", path, trust_remote_code)
    repo, revision = hub.split(wanted)
    refuse_lost(wanted)
    if "/" not in repo:
        raise unknown("checkpoint", wanted, KINDS, "(or give a folder that exists, or a hub id OWNER/NAME)")
    return _from_hub(family, "hub", repo, revision, trust_remote_code)


@dataclass(frozen=True)
class _Recipe:
    """How a synthetic checkpoint is made, where it comes to that."""

    seed: int
    layers: int | None
    force: bool


def _of_family(
    family: Known, wanted: str, machine: Machine, recipe: _Recipe, trust_remote_code: bool
) -> Located | None:
    """Return the checkpoint that a family names, None where `wanted` is no such name."""
    if wanted == "auto":
        return _auto(family, machine, recipe, trust_remote_code)
    if wanted == "tiny":
        return _tiny(family)
    if wanted == "synthetic":
        return _synthetic(family, machine, recipe)
    if wanted.split("@")[0] == "full":
        _, revision = hub.split(wanted)
        _needs_memory(family, machine)
        return _from_hub(family, "full", family.facts.hub_id, revision, trust_remote_code)
    return None


def existing(wanted: str) -> Path | None:
    """Return the path that `--checkpoint` or FAMILY names, or None; UnusableInput for what can be no path."""
    if not wanted:
        # As a path it would be the folder that the command runs in.
        return None
    try:
        path = Path(wanted).expanduser()
        return path if path.exists() else None
    except RuntimeError:
        raise UnusableInput(f"checkpoint {clean(wanted)}: there is no such user; write the folder out") from None
    except (OSError, ValueError) as error:
        long = getattr(error, "errno", None) == errno.ENAMETOOLONG
        remedy = "give a shorter path, or a link" if long else "give a folder that can be read"
        reason = getattr(error, "strerror", None) or error
        raise UnusableInput(f"checkpoint {clean(wanted)}: {reason}; {remedy}") from None


def refuse_lost(wanted: str) -> None:
    """Raise UnusableInput where `wanted`, which `existing` did not find, can be nothing but a folder."""
    if wanted.startswith((".", "/", "~")):
        raise UnusableInput(
            f"checkpoint {clean(wanted)}: there is no such folder; give one that exists, or a hub id OWNER/NAME"
        )


def memory_gb(machine: Machine) -> float:
    """Return the memory that weights can use: the GPU's own, else the machine's; on Metal the smaller of the two."""
    known = [have for have in (machine.gpu_memory_gb, machine.memory_gb) if have]
    if not known:
        return 0.0
    return min(known) if machine.backend == "metal" else known[0]


def why_not_full(name: str, machine: Machine, workspace: Workspace | None = None) -> str | None:
    """Say why the published checkpoint cannot be measured as it is here, without hashing it; None where it can."""
    family = known(name, workspace)
    if (reason := lacks_memory(family.facts, machine)) is not None:
        return reason
    snapshot = hub.cached(family.facts.hub_id)
    if snapshot is None:
        return "not in the hub cache; --checkpoint full downloads it"
    try:
        checkpoint_folder.read_config(snapshot, family, trust_remote_code=False)
        checkpoint_folder.weight_files(snapshot)
    except UnusableInput as error:
        return str(error)
    return None


def lacks_memory(family: FamilyFacts, machine: Machine) -> str | None:
    """Say that the published sizes do not fit here and what could be done, without a stop; None where they fit."""
    if memory_gb(machine) * FILLED >= family.memory_gb:
        return None
    return f"needs {family.memory_gb} GB and {_have(machine)}"


def _have(machine: Machine) -> str:
    have = f"{memory_gb(machine):.1f} GB"
    if machine.gpu_memory_gb and memory_gb(machine) == machine.gpu_memory_gb:
        if machine.backend == "metal":
            return f"Metal recommends at most {have} here (`sudo sysctl iogpu.wired_limit_mb=N` moves that)"
    elif machine.memory_limited_by is not None:
        return f"the {machine.memory_limited_by} allows {have} here (raise the container's limit)"
    return f"this machine has {have}"


def _auto_share(machine: Machine) -> float:
    """Return the share of the memory that `auto` fills; Metal's recommendation leaves room for the system already."""
    return FILLED if machine.backend == "metal" and machine.gpu_memory_gb else 0.75


def _auto(family: Known, machine: Machine, recipe: _Recipe, trust_remote_code: bool) -> Located:
    need = family.facts.memory_gb
    snapshot = hub.cached(family.facts.hub_id)
    if snapshot is None:
        reason = f"{family.facts.hub_id} is not in the hub cache"
    elif memory_gb(machine) * _auto_share(machine) < need:
        reason = f"{family.facts.hub_id} needs {need} GB and room beside it, and {_have(machine)}"
    else:
        try:
            found = _from_hub(family, "full", family.facts.hub_id, None, trust_remote_code)
        except UnusableInput as error:
            reason = f"{family.facts.hub_id} lies in the hub cache and cannot be used: {error}"
        else:
            return replace(found, why="the published checkpoint is in the hub cache and fits")
    if family.tiny is not None:
        return replace(_tiny(family), why=reason)
    reason = f"{reason}, and {family.name} has no tiny checkpoint"
    if machine.backend == "cpu" and not recipe.force:
        raise CannotHere(f"checkpoint auto: {reason}; use synthetic or full, or name a folder")
    return replace(_synthetic(family, machine, recipe), why=reason)


def _tiny(family: Known) -> Located:
    if family.tiny is None:
        raise CannotHere(f"checkpoint tiny: {family.name} has no tiny checkpoint; use synthetic or full")
    return _from_folder(family, "tiny", family.tiny, trust_remote_code=False)


def _needs_memory(family: Known, machine: Machine) -> None:
    if (reason := lacks_memory(family.facts, machine)) is not None:
        raise CannotHere(f"checkpoint full: {family.facts.hub_id} {reason}; {_smaller(family)}")


def _smaller(family: Known) -> str:
    """Return what to do where the published sizes are too large."""
    if family.tiny is None:
        return f"{family.name} has no tiny checkpoint: name the folder of a smaller one"
    return "use tiny"


@dataclass(frozen=True)
class _Files:
    """What the files of a checkpoint are."""

    config_sha256: str
    weights: dict[str, str]
    digest: str
    context: int | None


def _files(family: Architecture, place: Path, trust_remote_code: bool) -> _Files:
    """Check and hash the files of a checkpoint in a folder, as `checkpoints.folder` does."""
    config = checkpoint_folder.read_config(place, family, trust_remote_code=trust_remote_code)
    config_sha256 = checkpoint_folder.config_hash(config)
    weights = digest.weights_sha256(checkpoint_folder.weight_files(place))
    identity = digest.of_files(config_sha256, weights)
    return _Files(config_sha256, weights, identity, checkpoint_folder.context_length(config))


def _from_folder(family: Architecture, kind: CheckpointKind, path: Path, trust_remote_code: bool) -> Located:
    found = _files(family, path, trust_remote_code)
    name = path.resolve().name
    checkpoint = Checkpoint(
        kind=kind,
        label="tiny" if kind == "tiny" else label(name, found.digest),
        digest=found.digest,
        source=printable(name) or "/",
        config_sha256=found.config_sha256,
        weights=found.weights,
        trust_remote_code=trust_remote_code,
    )
    # A link is kept: it may stand for a folder whose own path MLX cannot open. `..` behind one leads elsewhere.
    whole, plain = str(path.absolute()), os.path.normpath(path.absolute())
    whole = plain if os.path.realpath(plain) == os.path.realpath(whole) else whole
    option = "tiny" if kind == "tiny" else whole if whole == encodable(whole) else str(path)
    return Located(checkpoint, path, option, found.context)


def _from_hub(
    family: Architecture, kind: CheckpointKind, repo: str, revision: str | None, trust_remote_code: bool
) -> Located:
    or_else = ", or use --checkpoint tiny" if family.tiny is not None else ""
    snapshot = hub.fetch(repo, revision, known=kind == "full", or_else=or_else)
    found, commit = _files(family, snapshot, trust_remote_code), hub.commit_of(snapshot)
    checkpoint = Checkpoint(
        kind=kind,
        label="full" if kind == "full" else label(repo.split("/")[-1], found.digest),
        digest=found.digest,
        source=f"{repo}@{commit}",
        config_sha256=found.config_sha256,
        weights=found.weights,
        blobs=hub.blobs_of(snapshot),
        trust_remote_code=trust_remote_code,
    )
    return Located(checkpoint, snapshot, f"{'full' if kind == 'full' else repo}@{commit}", found.context)


def _synthetic(family: Known, machine: Machine, recipe: _Recipe) -> Located:
    if machine.backend == "cpu" and not recipe.force:
        raise CannotHere(
            "checkpoint synthetic: the published sizes are for a GPU, on a CPU a token takes seconds; "
            f"{_smaller(family)}, or insist with --force"
        )
    if recipe.layers is None and (reason := lacks_memory(family.facts, machine)) is not None:
        raise CannotHere(f"checkpoint synthetic: {reason}; {_smaller(family)}")
    config = family.facts.config
    most = config.get("num_hidden_layers")
    if recipe.layers is not None and isinstance(most, int) and recipe.layers > most:
        raise UnusableInput(f"--layers {recipe.layers}: {family.facts.title} has {most}")
    version = installed("mlx")
    told = f"recipe {family.facts.recipe}, seed {recipe.seed}, mlx {version}, backend {machine.backend}" + (
        f", {recipe.layers} layers" if recipe.layers else ""
    )
    packing = family.facts.quantization
    config_sha = content_hash({**config, "quantization": packing} if packing else config)
    checkpoint = Checkpoint(
        kind="synthetic",
        label="synthetic",
        digest=digest.of_recipe(config_sha, told),
        source=f"{family.facts.hub_id}'s configuration with random weights",
        config_sha256=config_sha,
        recipe=told,
        layers=recipe.layers,
    )
    return Located(checkpoint, TOKENIZER, "synthetic", checkpoint_folder.context_length(config))


def label(name: str, identity: str) -> str:
    """Return what capsules are named by: the Latin letters and digits of a folder's name, or those of the digest.

    What `--checkpoint` calls checkpoints that zmlx knows is no label of another.
    """
    slug = re.sub(r"[^A-Za-z0-9.\-]+", "-", name).strip("-.")[:60].rstrip("-.")
    return slug if slug and slug not in KINDS else f"{slug or 'checkpoint'}-{identity[:8]}"
