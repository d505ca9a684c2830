"""Which variant belongs to a model: read from the promotions and the declarations. Imports no MLX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.analysis.decision import GroupKey
from zmlx_bench.analysis.decision.adapter import identity_of
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints import hub
from zmlx_bench.checkpoints.resolve import TINY, Located, locate
from zmlx_bench.errors import unknown
from zmlx_bench.ledger import promotions
from zmlx_bench.machine.backend import installed
from zmlx_bench.measured.families.registry import facts
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.promotion import Promotion
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.workspace import Workspace

PROMOTED = "promoted"
NONE = "none"


class No(Exception):
    """The answer is that no variant may be applied; the text is one sentence for people."""


@dataclass(frozen=True)
class Choice:
    """A variant that may be applied."""

    variant: ResolvedVariant
    limits: dict[str, int | None]
    """Each kernel's largest number of tokens in a call; None for any."""
    promotion: Promotion | None = None


def option_of(family: str, checkpoint: str | Path) -> str:
    """Return what `--checkpoint` calls a folder or hub id: `tiny` and `full` are the ones that the family names."""
    text = str(checkpoint)
    if Path(text).expanduser().resolve() == (TINY / f"tiny_{family}").resolve():
        return "tiny"
    repo, revision = hub.split(text)
    if repo == facts(family).hub_id:
        return f"full@{revision}" if revision else "full"
    return text


def promoted_here(workspace: Workspace, family: str, machine: Machine) -> tuple[Promotion, ...]:
    """Return the promotions for this family, machine and its versions, of any checkpoint."""
    found = [(promotions.key_of(promotion), promotion) for promotion in promotions.read(workspace).promotion]
    here = [(key, promotion) for key, promotion in found if key.covers(_group(family, key.checkpoint, machine))]
    # What was measured with these very cores counts before what did not record them.
    return tuple(promotion for key, promotion in sorted(here, key=lambda pair: pair[0].cores is None))


def _group(family: str, digest: str, machine: Machine) -> GroupKey:
    versions = installed("mlx") or "none", installed("mlx-lm")
    return GroupKey(family, digest, Conditions(), machine.backend, machine.device, machine.cores, *versions)


def for_checkpoint(workspace: Workspace, family: str, machine: Machine, located: Located) -> Choice:
    """Return the variant promoted for this checkpoint on this machine; raise No with the reason where there is none."""
    here = promoted_here(workspace, family, machine)
    of_checkpoint = [p for p in here if promotions.key_of(p).checkpoint == located.checkpoint.digest]
    if not of_checkpoint:
        raise No(nothing_promoted(workspace, family, machine, located))
    return of_promotion(workspace, of_checkpoint[0])


def of_promotion(workspace: Workspace, promotion: Promotion) -> Choice:
    """Return the promoted variant as it is declared now; raise No where that is not what was measured."""
    catalog = Catalog(workspace, promotion.family)
    name = promotion.variant
    if name not in catalog.specs:
        raise No(f"{name} is promoted here, but {catalog.path.name} no longer declares it; run `zmlx check`")
    variant = catalog.resolve(name)
    if identity_of(variant) != promotion.identity:
        raise No(
            f"{name} is promoted here, but its kernels or its declaration changed since it was measured; "
            f"measure it again with `zmlx run {promotion.family} --variants {name}`"
        )
    return _usable(catalog, variant, promotion)


def by_name(workspace: Workspace, family: str, name: str, machine: Machine) -> Choice:
    """Return the variant called `name`, promoted or not; UnusableInput where there is none, No where it cannot run."""
    catalog = Catalog(workspace, family)
    if name not in catalog.specs:
        raise unknown(f"{family} variant", name, catalog.specs)
    variant = catalog.resolve(name)
    if (reason := catalog.missing_on(variant, machine.backend)) is not None:
        raise No(reason)
    return _usable(catalog, variant, None)


def environment_missing(variant: ResolvedVariant) -> dict[str, str]:
    """Return the variables of the variant that this process was not started with."""
    return {name: value for name, value in variant.env.items() if os.environ.get(name) != value}


def nothing_promoted(workspace: Workspace, family: str, machine: Machine, located: Located | None) -> str:
    """Say that nothing is promoted for this group, what is promoted nearby, and how to find out."""
    here = f"{machine.device} ({machine.backend}), mlx {installed('mlx')}"
    which = f" {located.checkpoint.label}" if located is not None else ""
    others = _listed([p for p in promotions.read(workspace).promotion if p.family == family])
    option = f" --checkpoint {located.option}" if located is not None else ""
    return (
        f"nothing is promoted for {family}{which} on {here}{others}; "
        f"`zmlx run {family}{option} --tokens 200 --tokens 1024` and `zmlx promote` find out"
    )


def locate_for(promotion: Promotion, machine: Machine) -> Located | None:
    """Return the checkpoint of a promotion where it can be found without being told: `tiny`, or `full` in the cache."""
    if promotion.checkpoint == "tiny":
        return locate(promotion.family, "tiny", machine)
    if promotion.checkpoint == "full" and hub.cached(facts(promotion.family).hub_id) is not None:
        return locate(promotion.family, "full", machine)
    return None


def _listed(found: Sequence[Promotion]) -> str:
    each = [f"{p.variant} for {p.checkpoint} on {p.device} ({p.backend}), mlx {p.mlx}" for p in found]
    return f" (promoted elsewhere: {'; '.join(each)})" if each else ""


def _usable(catalog: Catalog, variant: ResolvedVariant, promotion: Promotion | None) -> Choice:
    limits: dict[str, int | None] = {}
    for kernel in variant.kernels:
        most = catalog.kernels[kernel.kernel].declaration.max_tokens
        limits[kernel.kernel] = None if most == "any" else most
    return Choice(variant, limits, promotion)
