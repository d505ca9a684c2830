"""The sites of a loaded model, and which variants can be applied to it: asked of a process that measures nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.measured.messages import Instructions
from zmlx_bench.printable import one_line
from zmlx_bench.process import told_path
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.session import FoundSites
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session.asking import answer_of
from zmlx_bench.session.environment import without_secrets

MODULE = "zmlx_bench.measured.survey"
LIMIT_S = 1800.0
"""For an answer: the model is loaded and answers a few tokens."""


@dataclass(frozen=True)
class Survey:
    """What was found in a model."""

    sites: tuple[FoundSites, ...]
    why_not: Mapping[str, str | None]
    """By variant, why it cannot be applied to the model; None where it can."""


def survey(
    located: Located,
    catalog: Catalog,
    backend: Backend,
    variants: Sequence[ResolvedVariant],
    *,
    seed: int = 0,
    limit_s: float = LIMIT_S,
) -> Survey:
    """Load the model of `located` in a process of its own, find its sites, and try each variant on it.

    UnusableInput where mlx-lm does not load it; CannotHere where the process does not answer.
    """
    instructions = Instructions(
        family_folder=told_path(families.folder(catalog.family, catalog.workspace)),
        checkpoint_kind=located.checkpoint.kind,
        path=told_path(located.path),
        seed=seed,
        layers=located.checkpoint.layers,
        trust_remote_code=located.checkpoint.trust_remote_code,
        backend=backend,
        variant=None,
        kernels=told_path(catalog.workspace.kernels),
        tokens=0,
        prompts=(),
        margins=False,
    )
    told = {
        "instructions": json.loads(instructions.encoded()),
        "variants": [dataclasses.asdict(catalog.plain(variant)) for variant in variants],
    }
    where = f"checkpoint {located.path}"
    answer = answer_of(MODULE, json.dumps(told).encode("ascii"), where, "the process that loads it", limit_s)
    if "error" in answer:
        raise UnusableInput(
            f"{where}: mlx-lm does not load it: {one_line(without_secrets(answer['error'])).rstrip('.')}; "
            "mend the checkpoint's files or name another"
        )
    sites = tuple(FoundSites.model_validate(each) for each in answer["sites"])
    return Survey(sites, {name: why and one_line(without_secrets(why)) for name, why in answer["variants"].items()})


def applicable(found: Survey, variants: Sequence[ResolvedVariant]) -> tuple[list[ResolvedVariant], tuple[str, ...]]:
    """Return the variants that can be applied, and of the others why not; CannotHere where none can."""
    usable = [variant for variant in variants if found.why_not[variant.name] is None]
    left_out = tuple(f"{variant.name}: {why}" for variant in variants if (why := found.why_not[variant.name]))
    if not usable:
        why = "; ".join((*left_out, *unpacked(found.sites))) or "none is declared"
        raise CannotHere(f"no variant serves this model here: {why}")
    return usable, left_out


def unpacked(sites: Sequence[FoundSites]) -> tuple[str, ...]:
    """Say what to do about a model without quantised projections, each of which would be a site, or in the module of
    one; nothing of others."""
    if any(each.sizes for each in sites):
        return ()
    return (
        "no projection of it is quantised, and most kernels multiply by packed weights: "
        "`mlx_lm.convert --hf-path FOLDER --mlx-path NEW -q` packs them",
    )
