"""Which variant belongs to a model: read from the promotions and the declarations. Imports no MLX."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.analysis.changed import DECLARATION, changed, listed
from zmlx_bench.analysis.decision import GroupKey
from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints import hub
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.errors import ZmlxError, unknown
from zmlx_bench.ledger import carried, promotions
from zmlx_bench.ledger.evidence_reader import KNOWN
from zmlx_bench.machine.backend import installed
from zmlx_bench.measured.variant import Variant
from zmlx_bench.schema.machine import Machine, cores_told
from zmlx_bench.schema.plan import DEFAULT, Conditions
from zmlx_bench.schema.promotion import Promotion
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.workspace import Workspace

PROMOTED = "promoted"
NONE = "none"


class NotChosen(Exception):
    """The answer is that no variant may be applied; the text is one sentence for people."""


@dataclass(frozen=True)
class Choice:
    """A variant that may be applied."""

    variant: ResolvedVariant
    plain: Variant
    """What is applied of it."""
    promotion: Promotion | None = None
    changed: tuple[str, ...] = ()
    """What has changed since the promotion was measured, in words."""


def option_of(family: str, checkpoint: str | Path, workspace: Workspace | None = None) -> str:
    """Return what `--checkpoint` calls a folder or hub id: `tiny` and `full` are the ones that the family names."""
    text = str(checkpoint)
    known = families.architecture(family, workspace)
    if known.tiny is not None and Path(text).expanduser().resolve() == known.tiny.resolve():
        return "tiny"
    repo, revision = hub.split(text)
    if isinstance(known, families.Known) and repo == known.facts.hub_id:
        return f"full@{revision}" if revision else "full"
    return text


def promoted_here(workspace: Workspace, family: str, machine: Machine, conditions: Conditions) -> tuple[Promotion, ...]:
    """Return the promotions for this family, machine, its versions and these conditions, of any checkpoint."""
    found = [(promotions.key_of(promotion), promotion) for promotion in promotions.read(workspace).promotion]
    here = [
        (key, promotion) for key, promotion in found if key.covers(_group(family, key.checkpoint, machine, conditions))
    ]
    # What was measured with these very cores counts before what did not record them.
    return tuple(promotion for key, promotion in sorted(here, key=lambda pair: pair[0].cores is None))


def _group(family: str, digest: str, machine: Machine, conditions: Conditions) -> GroupKey:
    versions = installed("mlx") or "none", installed("mlx-lm")
    return GroupKey(family, digest, conditions, machine.backend, machine.device, machine.cores, *versions)


def for_checkpoint(
    workspace: Workspace,
    family: str,
    machine: Machine,
    located: Located,
    conditions: Conditions = DEFAULT,
    *,
    strict: bool = False,
) -> Choice:
    """Return the variant promoted for this checkpoint on this machine under these conditions; NotChosen says why there
    is none."""
    here = promoted_here(workspace, family, machine, conditions)
    of_checkpoint = [p for p in here if p.checkpoint_digest == located.checkpoint.digest]
    if not of_checkpoint:
        raise NotChosen(nothing_promoted(workspace, family, machine, located, conditions))
    return of_promotion(workspace, of_checkpoint[0], strict=strict)


def of_promotion(workspace: Workspace, promotion: Promotion, *, strict: bool = False) -> Choice:
    """Return the promoted variant as it is now; raise NotChosen where it is declared otherwise than it was measured.

    Where its kernels or the path around them changed since, the choice says so; with `strict` it raises too.
    """
    catalog = Catalog(workspace, promotion.family)
    name = promotion.variant
    if name not in catalog.specs:
        raise NotChosen(f"{name} is promoted here, but {catalog.path.name} no longer declares it; run `zmlx check`")
    if (environment := catalog.environment_of(name)) is not None:
        raise NotChosen(f"{name} is promoted here, but it needs the environment {environment}: this is another one")
    variant = catalog.identify(catalog.resolve(name), promotion.backend, promotion.conditions)
    then = promotions.parts_of(promotion, carried.read(workspace))
    since = () if then is None or variant.identity is None else changed(then, variant.identity)
    if then is None or DECLARATION in since:
        raise NotChosen(
            f"{name} is promoted here, but its kernels or its declaration changed since it was measured; "
            f"{_again(promotion)}"
        )
    if since and strict:
        raise NotChosen(f"{name} is promoted here, but {earlier(since)}; {_again(promotion)}")
    return Choice(variant, catalog.plain(variant), promotion, since)


def doubt(workspace: Workspace, promotion: Promotion, machine: Machine) -> str | None:
    """Say what speaks against a promotion that is applied on this machine all the same; None where nothing does.

    Evidence that cannot be read keeps nobody from using what is promoted; that it cannot is said.
    """
    from zmlx_bench.report.doubt import of_default  # heavy, and needed only where something is promoted

    # A promotion that did not record what tells groups apart may cover this group, and has sessions of its own.
    here = _group(promotion.family, promotion.checkpoint_digest, machine, promotion.conditions)
    for key in dict.fromkeys((here, promotions.key_of(promotion))):
        try:
            said = of_default(workspace, promotion, key)
        except ZmlxError as error:
            return f"whether a session speaks against {promotion.variant} cannot be told: {error}"
        if said is not None:
            return f"DEFAULT IN DOUBT: {said}"
    return None


def earlier(since: tuple[str, ...]) -> str:
    """Say that a promotion's evidence is not of today's code, and what changed."""
    return f"it was measured on an earlier path: {listed(since)} changed since"


def _again(promotion: Promotion) -> str:
    checkpoint = [] if promotion.checkpoint in KNOWN else ["--checkpoint", "FOLDER_OR_HUB_ID"]
    asked = " ".join([*checkpoint, "--variants", promotion.variant, *promotion.conditions.options])
    return f"measure it again with `zmlx run {promotion.family} {asked}`"


def by_name(workspace: Workspace, family: str, name: str, machine: Machine, conditions: Conditions = DEFAULT) -> Choice:
    """Return the variant called `name`, promoted or not; UnusableInput without one, NotChosen where it cannot run or
    does not serve these conditions."""
    catalog = Catalog(workspace, family)
    if name not in catalog.specs:
        raise unknown(f"{family} variant", name, catalog.specs)
    variant = catalog.resolve(name)
    reason = catalog.not_in_process(name, machine.backend) or catalog.unserved(variant, conditions)
    if reason is not None:
        raise NotChosen(f"{name} cannot be applied: {reason}")
    return Choice(variant, catalog.plain(variant))


def environment_missing(variant: ResolvedVariant) -> dict[str, str]:
    """Return the variables of the variant that this process was not started with."""
    return {name: value for name, value in variant.env.items() if os.environ.get(name) != value}


def nothing_promoted(
    workspace: Workspace,
    family: str,
    machine: Machine,
    located: Located | None,
    conditions: Conditions = DEFAULT,
) -> str:
    """Say that nothing is promoted for this group, what is promoted nearby, and how to find out."""
    here = ", ".join([f"{machine.device} ({machine.backend})", f"mlx {installed('mlx')}", *_words(conditions)])
    which = f" {located.checkpoint.label}" if located is not None else ""
    others = _listed([p for p in promotions.read(workspace).promotion if p.family == family])
    option = f" --checkpoint {shlex.quote(located.option)}" if located is not None else ""
    if located is None and families.is_structural(family, workspace):
        option = " --checkpoint FOLDER_OR_HUB_ID"
    asked = " ".join(["--tokens 200 --tokens 1024", *conditions.options])
    return (
        f"nothing is promoted for {family}{which} on {here}{others}; "
        f"`zmlx run {family}{option} {asked}` and `zmlx promote` find out"
    )


def _words(conditions: Conditions) -> tuple[str, ...]:
    return (" ".join(conditions.options),) if conditions.options else ()


def locate_for(promotion: Promotion, machine: Machine, workspace: Workspace) -> Located | None:
    """Return the checkpoint of a promotion where it can be found without being told: `tiny`, or `full` in the cache."""
    if promotion.checkpoint == "tiny":
        return locate(promotion.family, "tiny", machine, workspace=workspace)
    if promotion.checkpoint == "full" and hub.cached(_hub_id(promotion, workspace)) is not None:
        return locate(promotion.family, "full", machine, workspace=workspace)
    return None


def _hub_id(promotion: Promotion, workspace: Workspace) -> str:
    return families.facts(promotion.family, workspace).hub_id


def _listed(found: Sequence[Promotion]) -> str:
    each = [
        ", ".join(
            [
                f"{p.variant} for {p.checkpoint} on {p.device} ({p.backend})",
                *cores_told(p.device, p.cores),
                f"mlx {p.mlx}",
                *_words(p.conditions),
            ]
        )
        for p in found
    ]
    return f" (promoted elsewhere: {'; '.join(each)})" if each else ""
