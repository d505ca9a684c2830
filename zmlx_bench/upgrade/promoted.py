"""The promotions of a workspace, and what measuring one of them again takes."""

from __future__ import annotations

from dataclasses import dataclass

from zmlx_bench import files
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.ledger import promotions
from zmlx_bench.ledger.evidence_reader import KNOWN
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.promotion import Promotion
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE, Workspace


@dataclass(frozen=True)
class Weights:
    """The options of `zmlx run` by which a promotion's checkpoint is found again."""

    option: str
    seed: int | None
    """Of weights that are made; None of others."""
    layers: int | None
    trust_remote_code: bool


def standing(workspace: Workspace, family: str | None, backend: str) -> list[Promotion]:
    """Return the promotions, of a family and a backend where these are asked for (`auto`: of every one).

    Of several that differ in their MLX or mlx-lm alone the latest stands for all: they would be measured alike.
    """
    found: dict[tuple[object, ...], Promotion] = {}
    for one in sorted(promotions.read(workspace).promotion, key=lambda promotion: promotion.since):
        if family not in (None, one.family) or backend not in ("auto", one.backend):
            continue
        place = (
            one.family,
            one.checkpoint_digest,
            one.backend,
            one.device,
            one.cores,
            one.conditions.model_dump_json(),
        )
        found[(*place, one.variant)] = one
    return sorted(found.values(), key=lambda one: (one.family, one.checkpoint, one.backend, one.device, one.variant))


def weights_of(workspace: Workspace, promotion: Promotion) -> Weights:
    """Return how a promotion's checkpoint is found again; CannotHere where that is not known, here or any more.

    Its latest session says so; a kind that names itself needs none.
    """
    path = workspace.session(promotion.sessions[0]) / SESSION_FILE
    try:
        session = files.read_json(path, Session)
    except UnusableInput:
        if promotion.checkpoint in KNOWN and promotion.checkpoint != "synthetic":
            return Weights(promotion.checkpoint, None, None, trust_remote_code=False)
        raise CannotHere(f"its session {promotion.sessions[0]} is not here, which names its checkpoint") from None
    of = session.plan.checkpoint
    made = of.kind == "synthetic"
    return Weights(
        of.kind if of.kind in KNOWN else session.checkpoint_option,
        session.plan.seed if made else None,
        of.layers,
        of.trust_remote_code,
    )


def machine_of(promotion: Promotion) -> Machine:
    """Return this machine, which is one that it is promoted on; CannotHere in words where it is not."""
    try:
        machine = facts.read(backends.choose(promotion.backend))
    except UnusableInput as error:
        raise CannotHere(str(error)) from None
    if machine.device != promotion.device:
        raise CannotHere(f"it is promoted on {promotion.device}, and this is {machine.device}")
    if promotion.cores not in (None, machine.cores):
        raise CannotHere(f"it is promoted on {promotion.cores} cores, and this process may use {machine.cores}")
    return machine


def identity_here(workspace: Workspace, promotion: Promotion, weights: Weights) -> str:
    """Return the identity of the promoted variant as it is now; CannotHere in words where it cannot be measured here.

    It was promoted on one kind of device and one checkpoint; elsewhere it is no promotion.
    """
    machine = machine_of(promotion)
    try:
        catalog = Catalog(workspace, promotion.family)
        if promotion.variant not in catalog.specs:
            raise CannotHere(f"{catalog.path.name} declares it no longer")
        located = locate(
            promotion.family,
            weights.option,
            machine,
            workspace=workspace,
            seed=weights.seed or 0,
            trust_remote_code=weights.trust_remote_code,
            force=True,
            layers=weights.layers,
        )
    except UnusableInput as error:
        raise CannotHere(str(error)) from None
    if located.checkpoint.digest != promotion.checkpoint_digest:
        raise CannotHere(f"--checkpoint {weights.option} is another one here than it is promoted on")
    found = catalog.identify(catalog.resolve(promotion.variant), machine.backend, promotion.conditions).identity
    assert found is not None
    return found.digest
