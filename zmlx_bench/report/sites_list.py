"""What `zmlx models --sites` shows: the sites of one model, and which variants serve it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.named import named
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import device, facts
from zmlx_bench.report.layout import Flow
from zmlx_bench.schema.session import FoundSites
from zmlx_bench.session.sites import survey, unpacked
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Found:
    """The sites of a model."""

    family: str
    located: Located
    backend: str
    sites: tuple[FoundSites, ...]
    variants: Mapping[str, str | None]
    """By name in the order of the file, why a variant does not serve the model here; None where it does."""


def of(workspace: Workspace, argument: str, backend: str, *, trust_remote_code: bool) -> Found:
    """Load the checkpoint that `argument` names and find its sites. CannotHere while another command measures here."""
    family, checkpoint = named(argument, "auto", workspace)
    chosen = backends.choose(backend)
    located = locate(family, checkpoint, facts.read(chosen), workspace=workspace, trust_remote_code=trust_remote_code)
    catalog = Catalog(workspace, family)
    variants = [catalog.resolve(name) for name in catalog.names()]
    missing = {variant.name: catalog.missing_on(variant, chosen) for variant in variants}
    with device.hold(chosen, share=False):
        found = survey(located, catalog, chosen, [v for v in variants if missing[v.name] is None])
    return Found(family, located, chosen, found.sites, {**missing, **found.why_not})


def summary(found: Found) -> dict[str, Any]:
    """Return the same as one JSON object."""
    return {
        "family": found.family,
        "checkpoint": found.located.checkpoint.label,
        "digest": found.located.checkpoint.digest,
        "backend": found.backend,
        "sites": [each.model_dump(mode="json") for each in found.sites],
        "variants": [{"variant": name, "not_here": why} for name, why in found.variants.items()],
    }


def view(found: Found) -> Group:
    """Return the sites with the modules that have them, then the variants."""
    label = found.located.checkpoint.label
    parts: list[RenderableType] = [Flow([Text(found.family, style="bold"), f"checkpoint {label}, {found.backend}"])]
    for each in found.sites:
        modules = f"{each.modules} x {each.module}"
        offered = [] if each.why_not is None else [Text(f"not offered: {each.why_not}", style="yellow")]
        parts.append(Flow([Text("+".join(each.sites), style="bold"), modules, *offered], indent=2, hang=6))
        parts.append(Flow([each.first, each.sizes], indent=6, style="dim"))
    if not found.sites:
        parts.append(Flow(["no module of it has a site that zmlx knows"], indent=2))
    parts += [Flow([line], indent=2) for line in unpacked(found.sites)]
    for name, why in found.variants.items():
        here = Text("serves it here", "green") if why is None else Text(f"not here: {why}", "yellow")
        parts.append(Flow([name, here], indent=2, hang=6))
    return Group(*parts)
