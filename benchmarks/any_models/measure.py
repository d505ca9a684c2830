"""What is asked of each architecture: baseline twice, then every variant of `variants/any.toml`, in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import SwitchGLU

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.families.loading import load
from zmlx_bench.measured.worker.generate import streamer
from zmlx_bench.measured.worker.job import warm_up
from zmlx_bench.workspace import Workspace

PROMPT = tuple(range(5, 25))
TOKENS = 12
BACKEND = "cpu"


@dataclass
class Row:
    """What was found of one architecture."""

    name: str
    sites: dict[str, int] = field(default_factory=dict)
    """How many modules are offered at each site."""
    calls: dict[str, float] = field(default_factory=dict)
    """By variant that applies and gives stock's tokens, the calls of its kernels for a token."""
    not_served: dict[str, str] = field(default_factory=dict)
    """By variant that does not apply, why."""
    refused: dict[str, str] = field(default_factory=dict)
    """What looked like sites and is not offered, by class, with the reason."""
    why_not: str | None = None
    """Why it does not measure; None where it does."""


def measure(name: str, model: Any, workspace: Workspace) -> Row:
    """Answer as the stock model does, twice, then under every variant that applies here."""
    row = Row(name)
    catalog = Catalog(workspace, f"{families.ANY}-{name}")
    family: Any = load(families.folder(families.ANY, workspace))
    stock = _answer(model)
    if _answer(model) != stock:
        row.why_not = "two answers of the stock model differ"
        return row
    for _, host, reason in family.tried(model):
        for step in host.block.steps:
            if reason is None:
                row.sites[step.site] = row.sites.get(step.site, 0) + 1
            else:
                row.refused.setdefault(f"{step.site} of {type(host.module).__name__}", reason)
    for variant in (catalog.resolve(each) for each in catalog.names()):
        if catalog.missing_on(variant, BACKEND) is not None:
            continue
        try:
            patch = apply(catalog.plain(variant), family.hosts(model), BACKEND, workspace.kernels)
        except Unavailable as error:
            row.not_served[variant.name] = str(error)
            continue
        try:
            calls = warm_up(streamer(model), list(PROMPT), patch, uncounted=1)
            said = _answer(model)
        except Unavailable as error:
            row.not_served[variant.name] = str(error)
            continue
        finally:
            patch.undo()
        if said != stock:
            row.not_served[variant.name] = "its tokens are not the stock model's"
        else:
            row.calls[variant.name] = sum(calls.values())
    if _answer(model) != stock:
        row.why_not = "undoing a variant did not give the stock model back"
    elif _has_sites(model) and not any(row.calls.values()):
        row.why_not = "no variant applies: " + "; ".join(dict.fromkeys(row.not_served.values()))
    return row


def _answer(model: Any) -> list[int]:
    return [token for token, _ in streamer(model)(list(PROMPT), TOKENS)]


def _has_sites(model: Any) -> bool:
    mx.eval(model.parameters())
    return any(isinstance(module, nn.QuantizedLinear | SwitchGLU) for _, module in model.named_modules())
