"""`zmlx_bench.apply`: put the promoted variant into a loaded mlx-lm model, or say why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench import workspace as workspaces
from zmlx_bench.catalog import families
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.machine import facts
from zmlx_bench.measured import apply as patching
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.primitives import check_needs
from zmlx_bench.printable import one_line
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.machine import Machine, cores_told
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.promotion import Promotion
from zmlx_bench.session.request import conditions_of
from zmlx_bench.use import decide, sharded, weights
from zmlx_bench.use.decide import NONE, PROMOTED, Choice, NotChosen
from zmlx_bench.use.outcome import Applied, NotApplied
from zmlx_bench.workspace import Workspace


def apply(
    model: Any,
    *,
    variant: str = PROMOTED,
    checkpoint: str | Path | None = None,
    workspace: str | Path | None = None,
    strict: bool = False,
    context: int | None = None,
    batch: int = 1,
    kv_bits: int | None = None,
    max_kv_size: int | None = None,
) -> Applied:
    """Patch a loaded mlx-lm model with the variant promoted for exactly this family, checkpoint, backend, device and
    MLX version, or say why not and change nothing.

    `model` comes from `mlx_lm.load`. `variant` is `promoted`, `none`, or the name of a declared variant, which is
    applied whether promoted or not. `checkpoint` says what was loaded (a folder, a hub id, `tiny` or `full`); without
    it the tiny and the published checkpoint are recognised by their weights. `workspace` holds the promotions:
    by default the nearest one upwards, else what came with zmlx. Where the promoted variant's kernels or the path
    around them changed since it was measured, or a session speaks against it, it is applied and `why` says so. With
    `strict`, NotApplied is raised in the first case, and where nothing can be applied; UnusableInput always, for a
    variant, checkpoint or workspace that there is not, and for conditions that mlx-lm cannot run.

    `context`, `batch`, `kv_bits` and `max_kv_size` say how the model will be run, in the words of `zmlx run`: what is
    applied was promoted under exactly these conditions, and its kernels serve them.

    Returns what was done; its `undo()` gives the unpatched model back.
    """
    place = workspaces.find_or_packaged(Path(workspace) if workspace is not None else None)
    if variant == NONE:
        return Applied(None, "no variant was asked for: the model is mlx-lm's own")
    conditions = conditions_of(context=context, batch=batch, kv_bits=kv_bits, max_kv_size=max_kv_size)
    try:
        applied = put_in(model, place, variant, checkpoint, conditions, strict=strict)
    except (NotChosen, CannotHere) as reason:
        if strict:
            raise NotApplied(str(reason)) from None
        return Applied(None, str(reason))
    if applied.promotion is None:
        return applied
    doubt = decide.doubt(place, applied.promotion, facts.read(backend_in_use()))
    return applied if doubt is None else replace(applied, why=f"{applied.why}; {doubt}")


def put_in(
    model: Any,
    place: Workspace,
    variant: str,
    checkpoint: str | Path | Located | None,
    conditions: Conditions,
    *,
    strict: bool = False,
) -> Applied:
    """Do what `apply` does; raise NotChosen, with nothing changed, where nothing can be applied."""
    family = family_of(model, place)
    machine = facts.read(backend_in_use())
    located = checkpoint if isinstance(checkpoint, Located) else None
    if located is None and checkpoint is not None and not isinstance(checkpoint, Located):
        located = locate(family, decide.option_of(family, checkpoint, place), machine, workspace=place)
    if any(hasattr(type(module), "composed_call") for _, module in model.named_modules()):
        raise NotChosen("a variant sits in this model already; undo it first")
    part = sharded.part_of(model)
    if variant != PROMOTED:
        choice = decide.by_name(place, family, variant, machine, conditions)
    elif part is not None:
        raise NotChosen(
            f"this process holds {part}, and promotions are measured with the whole model in one process; "
            "a variant asked for by name is applied where it can be"
        )
    elif located is not None:
        choice = decide.for_checkpoint(place, family, machine, located, conditions, strict=strict)
        if (odd := weights.difference(model, located.path)) is not None:
            raise NotChosen(f"the model is not the checkpoint {located.checkpoint.label}: {odd}")
    else:
        choice = _recognised(model, place, family, machine, conditions, strict=strict)
    if missing := decide.environment_missing(choice.variant):
        settings = " ".join(f"{name}={value}" for name, value in missing.items())
        raise NotChosen(f"{choice.variant.name} needs {settings} in the environment before Python starts")
    hosts = loading.load(families.folder(family, place)).hosts(model)
    if part is not None:
        hosts = sharded.hosts_of_part(hosts, choice.plain)
    try:
        check_needs(choice.plain)
        patch = patching.apply(choice.plain, hosts, machine.backend, place.kernels)
    except Unavailable as reason:
        raise NotChosen(f"{choice.variant.name} cannot be applied: {one_line(str(reason))}") from None
    return Applied(choice.variant.name, _grounds(choice), patch.hosts, choice.promotion, patch)


def family_of(model: Any, place: Workspace) -> str:
    """Return the family of a loaded mlx-lm model; raise NotChosen where zmlx has none for its architecture."""
    model_type = getattr(model, "model_type", None)
    if not isinstance(model_type, str):
        raise NotChosen(f"zmlx knows no sites in a {type(model).__name__}, which is no mlx-lm model")
    try:
        return families.named_by(model_type, place)
    except UnusableInput as reason:
        raise NotChosen(f"zmlx knows no sites in a {type(model).__name__}: {reason}") from None


def backend_in_use() -> Backend:
    """Return the backend of MLX's default device."""
    if mx.default_device().type == mx.DeviceType.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def _recognised(
    model: Any, place: Workspace, family: str, machine: Machine, conditions: Conditions, *, strict: bool
) -> Choice:
    here = decide.promoted_here(place, family, machine, conditions)
    reasons: list[str] = []
    for promotion in here:
        located = decide.locate_for(promotion, machine, place)
        if located is None or located.checkpoint.digest != promotion.checkpoint_digest:
            reasons.append(f"{promotion.variant} is for {promotion.checkpoint}: say checkpoint= if that is what it is")
        elif (odd := weights.difference(model, located.path)) is not None:
            reasons.append(f"{promotion.variant} is for {promotion.checkpoint}, which the model is not: {odd}")
        else:
            return decide.of_promotion(place, promotion, strict=strict)
    raise NotChosen("; ".join(reasons) or decide.nothing_promoted(place, family, machine, None, conditions))


def _grounds(choice: Choice) -> str:
    promotion, name = choice.promotion, choice.variant.name
    if promotion is None:
        held = (
            "; it is declared near: its tokens need not be those of stock" if choice.variant.fidelity == "near" else ""
        )
        return f"{name}: asked for by name, whatever the evidence says of its speed and its tokens{held}"
    since = f"; {decide.earlier(choice.changed)}" if choice.changed else ""
    return (
        f"{name}: promoted for {promotion.family} {promotion.checkpoint} on {promotion.device} ({promotion.backend}), "
        f"{''.join(f'{told}, ' for told in cores_told(promotion.device, promotion.cores))}"
        f"mlx {promotion.mlx}; in its latest session {_figures(promotion)}{since}"
    )


def _figures(promotion: Promotion) -> str:
    latest = [c for c in promotion.capsules if promotion.sessions[0] in Path(c.capsule).parts]
    each = [f"{c.speedup:.2f}x [{c.speedup_low:.2f}, {c.speedup_high:.2f}] at {c.tokens} tokens" for c in latest]
    same = all(c.matched_tokens == c.total_tokens for c in latest)
    return f"{' and '.join(each)} (90% intervals){', every token the same' if same else ''}"
