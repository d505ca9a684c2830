"""What `zmlx fleet run` was asked for, as a question; what no node could do is refused here, before any is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput, unknown
from zmlx_bench.fleet.parcel import hash_of
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.schema.fleet import FleetFamily, FleetQuestion
from zmlx_bench.session.request import Request, check
from zmlx_bench.workspace import Workspace

BLOCKS = 6
"""What finds the policy's planned effect with few variants; `zmlx doctor` and the notebook say what more costs."""
MOST_SESSIONS = 100


@dataclass(frozen=True)
class Asked:
    """The options of `zmlx fleet run`."""

    families: Sequence[str]
    variants: Sequence[str] | None = None
    sessions: int = 2
    per_host: int = 1
    devices: str | None = None
    tokens: Sequence[int] | None = None
    runs: int | None = None
    checkpoint: str = "auto"
    null_arm: bool = True
    seed: int = 0
    timeout_s: float | None = None
    prompts: str | None = None


def question_of(workspace: Workspace, asked: Asked, parcel: bytes) -> FleetQuestion:
    """Return the question; UnusableInput names the option that cannot be asked for."""
    policy = read_policy(workspace)
    for option, value, most in (("--sessions", asked.sessions, MOST_SESSIONS), ("--per-host", asked.per_host, 64)):
        if not 1 <= value <= most:
            raise UnusableInput(f"{option} {value}: must be from 1 to {most}")
    if len(set(asked.families)) < len(asked.families):
        raise UnusableInput(f"{' '.join(asked.families)}: names a family twice")
    if asked.prompts is not None and (asked.prompts.endswith(".toml") or "/" in asked.prompts):
        raise UnusableInput(f"--prompts {asked.prompts}: a file does not travel; name prompts by their ids")
    prompt_catalog.load(asked.prompts)
    if "/" in asked.checkpoint and asked.checkpoint.startswith((".", "/", "~")):
        raise UnusableInput(
            f"--checkpoint {asked.checkpoint}: a folder is on one machine; name a hub id, tiny, full or synthetic"
        )
    tokens = tuple(asked.tokens or sorted(policy.min_blocks))
    runs = BLOCKS if asked.runs is None else asked.runs
    check(Request(asked.families[0], tokens, runs, seed=asked.seed, timeout_s=asked.timeout_s))
    return FleetQuestion(
        families=_families(workspace, asked),
        sessions=asked.sessions,
        per_host=asked.per_host,
        devices=asked.devices,
        tokens=tokens,
        runs=runs,
        checkpoint=asked.checkpoint,
        null_arm=asked.null_arm,
        seed=asked.seed,
        timeout_s=asked.timeout_s,
        prompts=asked.prompts,
        gap_s=policy.session_gap_s,
        parcel=hash_of(parcel),
    )


def _families(workspace: Workspace, asked: Asked) -> tuple[FleetFamily, ...]:
    """Return the families, each with those of the variants that it has."""
    catalogs = {name: Catalog(workspace, family_catalog.check_name(name, workspace)) for name in asked.families}
    for name in catalogs:
        # What its facts say is read here: each node would refuse a family whose facts cannot be.
        if family_catalog.architecture(name, workspace).tiny is None and asked.checkpoint == "tiny":
            raise UnusableInput(f"--checkpoint tiny: {name} has none; use synthetic or full")
    if asked.variants is None:
        return tuple(FleetFamily(family=name, variants=None) for name in catalogs)
    known = {name: {"all", *catalog.names()} for name, catalog in catalogs.items()}
    for variant in asked.variants:
        if not any(variant in names for names in known.values()):
            raise unknown("variant", variant, set().union(*known.values()))
    found: list[FleetFamily] = []
    for name, names in known.items():
        mine = tuple(variant for variant in asked.variants if variant in names)
        if not mine:
            raise UnusableInput(f"--variants {','.join(asked.variants)}: none of them is a variant of {name}")
        found.append(FleetFamily(family=name, variants=tuple(catalogs[name].choose(mine))))
    return tuple(found)
