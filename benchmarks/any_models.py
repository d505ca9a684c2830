"""Whether every architecture of mlx-lm can be measured: a random model of each at a tiny size, in this process.

    python benchmarks/any_models.py [NAME ...] [--out docs/any-models.md] [--large]

The model answers as stock twice, then under every variant of `variants/any.toml` that runs on the CPU. It measures
where both answers of stock are the same and, if it has a quantised projection or a SwitchGLU, a variant's kernels are
called and its tokens are stock's. `--large` times what is found and bound in models of many layers and experts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import SwitchGLU
from tiny_models import BITS, GROUP, architectures, build

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
NOT_HERE = {
    "olmo": "needs the package ai2-olmo, and leaves without it",
    "prism_hadamard_qwen35": "is made from a pack of 2-bit weights with a manifest, not from a configuration",
}
"""Of architectures whose own words do not say it."""
ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_suffix(".md.in")
LARGE = (("llama", "num_hidden_layers", (25, 50, 100)), ("qwen3_moe", "num_experts", (128, 256, 512)))
"""Architecture, and what grows of it."""


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
    if not stock or _answer(model) != stock:
        row.why_not = "two answers of the stock model differ" if stock else "its random weights give no number"
        return row
    for _, host, reason in family.tried(model):
        for step in (each for each in host.block.steps if each.site):
            if reason is None:
                row.sites[step.site] = row.sites.get(step.site, 0) + len(host.modules((step.site,)))
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
    """Return the model's tokens; none where what it says is no number."""
    answer = list(streamer(model)(list(PROMPT), TOKENS))
    return [] if any(mx.isnan(says).any().item() for _, says in answer) else [token for token, _ in answer]


def _has_sites(model: Any) -> bool:
    mx.eval(model.parameters())
    return any(isinstance(module, nn.QuantizedLinear | SwitchGLU) for _, module in model.named_modules())


def rows(names: Sequence[str], workspace: Workspace) -> Iterator[Row]:
    """Build and measure each architecture; one that cannot be built or answer here says why."""
    for name in names:
        try:
            yield measure(name, build(name), workspace)
        # An architecture's module may leave: one asks for another package so.
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever an architecture raises
            said = " ".join(str(error).split()) or "no reason given"
            yield Row(name, why_not=NOT_HERE.get(name, f"{type(error).__name__}: {said}"))


def page(found: Sequence[Row]) -> str:
    """Return docs/any-models.md."""
    measured = sum(row.why_not is None for row in found)
    lines: list[str] = []
    for row in found:
        sites = ", ".join(f"{site} {count}" for site, count in row.sites.items())
        calls = ", ".join(f"{name.removeprefix('any_')} {count:g}" for name, count in row.calls.items())
        refused = "; ".join(f"{what}: {why}" for what, why in row.refused.items())
        said = "yes" if row.why_not is None else f"no: {row.why_not}"
        lines.append("| " + " | ".join(_cell(text) for text in (f"`{row.name}`", said, sites, calls, refused)) + " |")
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        mlx_lm=version("mlx-lm"),
        bits=BITS,
        group=GROUP,
        prompt=len(PROMPT),
        tokens=TOKENS,
        measured=measured,
        all=len(found),
        share=f"{measured / len(found):.0%}",
        rows="\n".join(lines),
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|") or "-"


def timed(workspace: Workspace) -> Iterator[str]:
    """Yield what finding and binding take in models of many layers and of many experts, a line each."""
    kernels = Catalog(workspace, f"{families.ANY}-of")
    variant = kernels.plain(kernels.resolve("any_native_linear"))
    for name, what, counts in LARGE:
        for count in counts:
            model = build(name, {what: count, "layer_types": "null"})
            begun = time.perf_counter()
            hosts = load(families.folder(families.ANY, workspace)).hosts(model)
            found = time.perf_counter()
            apply(variant, hosts, BACKEND, workspace.kernels).undo()
            bound = time.perf_counter()
            took = f"found in {found - begun:.2f} s, bound in {bound - found:.2f} s"
            yield f"{name} {what}={count}: {len(hosts)} hosts {took}"


def main() -> None:
    """Print a line an architecture, or what `--large` times; write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures; default: all")
    parser.add_argument("--out", type=Path, help="write the page here")
    parser.add_argument("--large", action="store_true", help="time finding and binding in large models")
    told = parser.parse_args()
    mx.set_default_device(mx.cpu)
    if told.large:
        for line in timed(Workspace(ROOT)):
            print(line, flush=True)
        return
    found: list[Row] = []
    for row in rows(told.names or architectures(), Workspace(ROOT)):
        found.append(row)
        print(row.name, row.why_not or f"measures: {row.calls} {row.not_served}", file=sys.stderr, flush=True)
    if told.out is not None:
        told.out.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
