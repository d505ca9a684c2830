"""Tables that pages show and that other files hold: the policy, the sites of a decoder layer, what is promoted, the
packings of weights that each kernel multiplies by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from zmlx_bench import files
from zmlx_bench.catalog import families, kernels
from zmlx_bench.ledger.check import standing
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.steps import Span
from zmlx_bench.schema.described import descriptions
from zmlx_bench.schema.kernel import Site
from zmlx_bench.schema.machine import cores_told
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import PromotedCapsule, Promotion, Promotions
from zmlx_bench.workspace import Workspace


def policy(root: Path) -> str:
    """Every threshold of `variants/policy.toml` with what it means."""
    found = files.read_toml(root / "variants" / "policy.toml", Policy)
    lines = ["| threshold | value | meaning |", "| --- | --- | --- |"]
    for name, text in descriptions(Policy).items():
        value = getattr(found, name)
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        lines.append(f"| `{name}` | {shown} | {' '.join(text.split())} |")
    return "\n".join(lines)


def sites(root: Path) -> str:
    """What a kernel at each single site is bound to, gets and returns, from the steps that the families declare."""
    return _contract(root, lambda run: len(run.sites) == 1, "site")


def fusions(root: Path) -> str:
    """The same for every run of neighbouring sites that one kernel may cover."""
    return _contract(root, lambda run: len(run.sites) > 1, "sites")


def _contract(root: Path, wanted: Callable[[Span], bool], heading: str) -> str:
    rows: dict[tuple[str, ...], list[str]] = {}
    place = Workspace(root)
    for name in (*families.names(place), families.ANY):
        for block in loading.load(families.folder(name, place)).blocks:
            for run in filter(wanted, block.runs()):
                gets, returns = run.words(run.inputs, given=False), run.words(run.outputs, given=True)
                # An asterisk there multiplies; in Markdown it would begin emphasis.
                row = ("+".join(run.sites), block.module, *(text.replace("*", "\\*") for text in (gets, returns)))
                rows.setdefault(row, []).append(f"`{name}`")
    lines = [f"| {heading} | bound to | gets | returns | families |", "| --- | --- | --- | --- | --- |"]
    order = get_args(Site)
    found = sorted(rows.items(), key=lambda row: order.index(row[0][0].split("+")[0]))
    return "\n".join([*lines, *(f"| {' | '.join(row)} | {', '.join(names)} |" for row, names in found)])


def known_families(root: Path) -> str:
    """Every family with a folder of its own: its model and sizes as `facts.toml` says, its sites and its router."""
    place = Workspace(root)
    rows = [
        "| family | model | `model_type` in config.json | parameters | weights | sites | router |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in families.names(place):
        known, blocks = families.facts(name, place), loading.load(families.folder(name, place)).blocks
        steps = [step for block in blocks for step in block.steps if step.site]
        sites = ", ".join(f"`{site}`" for site in dict.fromkeys(step.site for step in steps))
        types = ", ".join(f"`{each}`" for each in (known.model_type, *known.also))
        router = ", ".join(dict.fromkeys(f"`{step.kind}`" for step in steps if step.kind)) or "none"
        billions = "" if known.parameters_b is None else f"{known.parameters_b:g} billion"
        cells = (f"`{name}`", known.title, types, billions, f"{known.memory_gb:g} GB", sites, router)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def promoted(root: Path) -> str:
    """Every promotion of `variants/promoted.toml`, a column a budget, in it a ratio a session, the latest first."""
    place = Workspace(root)
    read = files.read_toml(root / "variants" / "promoted.toml", Promotions)
    found, earlier = read.promotion, standing.earlier(place, read)
    budgets = sorted({capsule.tokens for one in found for capsule in one.capsules})
    head = [
        "model",
        "measured on",
        "default",
        "code",
        *(f"{tokens} tokens" for tokens in budgets),
        "tokens the same",
        "peak GB (stock)",
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    code = {False: "today's", True: "an earlier path", None: "none of today's"}
    for one, since in zip(found, earlier, strict=True):
        lines.append("| " + " | ".join(_promotion(one, code[since], budgets)) + " |")
    return "\n".join(lines)


def _promotion(one: Promotion, code: str, budgets: list[int]) -> list[str]:
    ratios = [", ".join(_ratio(capsule) for capsule in one.capsules if capsule.tokens == tokens) for tokens in budgets]
    same, total = (sum(getattr(c, name) for c in one.capsules) for name in ("matched_tokens", "total_tokens"))
    device = ", ".join([one.device, *cores_told(one.device, one.cores)]) + f" ({one.backend}), `{one.checkpoint}`"
    memory = f"{_peak(one, 'peak_mem_gb')} ({_peak(one, 'baseline_peak_mem_gb')})"
    model, same_of = families.facts(one.family).title, f"{same:,} of {total:,}"
    return [model, device, f"`{one.variant}`", code, *ratios, same_of, memory]


def _peak(one: Promotion, name: str) -> str:
    known = [value for capsule in one.capsules if (value := getattr(capsule, name)) is not None]
    if not known:
        return "-"
    return f"{max(known):.2f}" if max(known) > 1 else f"{max(known):.4f}"


def _ratio(capsule: PromotedCapsule) -> str:
    return f"{capsule.speedup:.2f}x [{capsule.speedup_low:.2f}, {capsule.speedup_high:.2f}]"


def packings(root: Path) -> str:
    """The packings that each kernel of quantised weights declares, kernels that declare the same in one row."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, kernel in kernels.load(Workspace(root)).items():
        by_words: dict[str, list[str]] = {}
        declared = kernel.declaration.weights
        for backend in sorted({backend for each in declared for backend in each.backends}):
            words = "; ".join(str(each) for each in declared if backend in each.backends)
            by_words.setdefault(words, []).append(backend)
        for words, backends in by_words.items():
            rows.setdefault((words, ", ".join(backends)), []).append(f"`{name}`")
    lines = ["| kernels | on | weights |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {', '.join(names)} | {on} | {words} |" for (words, on), names in rows.items())])


TABLES: dict[str, Callable[[Path], str]] = {
    "policy": policy,
    "known_families": known_families,
    "sites": sites,
    "fusions": fusions,
    "promoted": promoted,
    "packings": packings,
}
