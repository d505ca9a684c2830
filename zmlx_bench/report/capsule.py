"""A capsule for people: what was measured, the figures with their intervals, every block."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zmlx_bench.analysis.throughput import by_block, decode_tok_s
from zmlx_bench.measured.conditions.asked import listed
from zmlx_bench.printable import said
from zmlx_bench.report import growth, measures, words
from zmlx_bench.report.layout import Fitting, Flow
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.figures import Ratio


def view(capsule: Capsule) -> RenderableType:
    """Return the capsule as tables."""
    figures = Fitting(_figures(capsule), _figure_list(capsule))
    origin = _pairs([*_origin(capsule)])
    return Group(origin, "", figures, "", *_blocks(capsule), "", *(Flow([line]) for line in _fidelity(capsule)))


def _origin(capsule: Capsule) -> Iterator[tuple[str, str]]:
    variant, software, machine = capsule.variant, capsule.software, capsule.machine
    yield "session", f"{capsule.session}, ended {capsule.time}"
    yield "variant", f"{variant.name}: {variant.why}"
    for kernel in variant.kernels:
        yield "kernel", f"{'+'.join(kernel.sites)} = {kernel.kernel}.{kernel.mode} ({kernel.source_sha256[:12]})"
    for name, value in variant.env.items():
        yield "env", f"{name}={value}"
    if variant.environment is not None:
        yield "environment", words.environment(variant.environment)
    if variant.identity is not None:
        yield "identity", f"{variant.identity.digest[:12]} (measured path {variant.identity.path[:12]})"
    checkpoint = f"{capsule.checkpoint.label} ({words.digest(capsule.checkpoint.digest)})"
    yield "model", f"{capsule.family}, {checkpoint}, {capsule.tokens} tokens"
    if asked := ", ".join(words.conditions(capsule.conditions)):
        yield "conditions", asked
        yield "cache", listed(next((run.caches for run in capsule.runs.variant if run.caches), ()))
    yield "machine", f"{machine.device}, {machine.backend}, {machine.os}"
    commit = software.commit[:12] + (" (dirty)" if software.dirty else "") if software.commit else "no commit"
    busy, shared = capsule.figures.busy_by_others, capsule.protocol.shared_device
    if company := words.company(busy, shared=shared):
        yield "company", company
    yield "software", f"mlx {software.mlx}, mlx-lm {software.mlx_lm}, zmlx {software.zmlx}, {commit}"
    yield "command", " ".join(capsule.protocol.command)
    if not capsule.intact:
        yield "EDITED", "the content is not what was hashed; `zmlx capsule verify` says what does not hold"
    yield "status", capsule.status
    for run in capsule.own_runs:
        if run.message:
            yield run.status, said(run.message)


def _pairs(pairs: list[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    return table


def _figures(capsule: Capsule) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("figure", "variant", "baseline", "ratio", "90% interval (unadjusted)"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for row in _figure_rows(capsule):
        table.add_row(*row)
    return table


def _figure_list(capsule: Capsule) -> Group:
    """Return the table's rows as paragraphs, for terminals that it does not fit."""
    lines = []
    for name, mine, stock, ratio, interval in _figure_rows(capsule):
        told = [f"{mine} (baseline {stock})"] if stock != words.DASH else [mine]
        if ratio != words.DASH:
            told += [ratio, f"90% {interval}"]
        lines.append(Flow([Text(name, "bold"), *told], hang=4))
    return Group(*lines)


def _figure_rows(capsule: Capsule) -> Iterator[tuple[str, str, str, str, str]]:
    figures = capsule.figures
    yield (
        "decode, tok/s (median)",
        words.number(figures.decode_tok_s, 2),
        words.number(figures.baseline_decode_tok_s, 2),
        *_ratio(figures.speedup),
    )
    yield "null arm, tok/s", words.number(figures.null_decode_tok_s, 2), words.DASH, *_ratio(figures.null)
    if figures.incumbent is not None:
        incumbent = words.number(figures.incumbent_decode_tok_s, 2)
        yield "against the incumbent", words.DASH, incumbent, *_ratio(figures.incumbent)
    for measure in measures.beside(measures.of_capsule(capsule)):
        yield measure.title, measure.shown, measure.shown_baseline, *_ratio(measure.ratio)
    mine, stock = figures.memory, figures.baseline_memory
    for name, peak, reference_gb in (
        ("peak memory, GB", mine.peak_mem_gb, stock.peak_mem_gb),
        ("peak resident, GB", mine.peak_rss_gb, stock.peak_rss_gb),
    ):
        yield name, words.gigabytes(peak), words.gigabytes(reference_gb), words.DASH, words.DASH
    footprint = ("peak footprint, GB", mine.peak_footprint_gb, stock.peak_footprint_gb, 3)
    rows = (
        *([footprint] if mine.peak_footprint_gb is not None else []),
        ("page faults (major)", mine.page_faults_major, stock.page_faults_major, 0),
    )
    for name, value, reference, places in rows:
        yield name, words.number(value, places), words.number(reference, places), words.DASH, words.DASH
    for row in growth.rows(figures):
        yield row.name, row.variant, row.baseline, words.DASH, words.DASH


def _blocks(capsule: Capsule) -> Iterator[RenderableType]:
    """Yield a line for each block: the speed of each arm, in the order in which their processes ran."""
    speeds = {group[0].arm: by_block(group, decode_tok_s) for _, group in capsule.runs.by_role if group}
    yield Text("decode tok/s of each block, its processes in the order they ran", style="bold")
    for block, order in enumerate(capsule.protocol.order, start=1):
        shown = [f"{arm} {words.number(speeds[arm].get(block), 2)}" if arm in speeds else f"({arm})" for arm in order]
        yield Flow([f"block {block}", *shown], hang=4)


def _fidelity(capsule: Capsule) -> Iterator[str]:
    fidelity = capsule.figures.fidelity
    if fidelity is None:
        yield "fidelity: nothing was compared"
        return
    yield f"fidelity: {fidelity.verdict}, {fidelity.matched_tokens} of {fidelity.total_tokens} tokens"
    for prompt in fidelity.prompts:
        where = "identical" if prompt.identical else f"differs from token {prompt.first_divergence}"
        margin = "" if prompt.baseline_margin is None else f", the baseline's margin there {prompt.baseline_margin:.4g}"
        loops = ", loops and does not count" if prompt.loops else ""
        yield f"  {prompt.prompt}: {where}{margin}{loops}"
    if (audit := capsule.audit) is not None:
        yield f"audit: {words.audit(audit)}"


def _ratio(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return words.DASH, words.DASH
    interval = words.DASH if ratio.low is None or ratio.high is None else f"{ratio.low:.4f} to {ratio.high:.4f}"
    return f"{ratio.value:.4f}x", interval
