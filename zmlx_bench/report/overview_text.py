"""An overview as Markdown and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from zmlx_bench.analysis.decision import GroupKey
from zmlx_bench.ledger.evidence_reader import Refusal
from zmlx_bench.legacy.verdict import LegacyVerdict
from zmlx_bench.printable import markdown as plain
from zmlx_bench.report import measures, words
from zmlx_bench.report.layout import Columns, Command, Flow
from zmlx_bench.report.overview import GroupOverview, Line
from zmlx_bench.schema.machine import cores_told
from zmlx_bench.schema.matrix import MatrixRow

NOTE = (
    "Ranked by the slower budget. Ratios are paired by block against the mean of baseline and null arm; intervals are"
    " 90%, not adjusted for the number of variants. Tokens: those that are the baseline's, of all compared. GB: peak "
    "memory of the variant / of the baseline. J: joules of the device a token, likewise, where a counter tells. "
    "Ratios of times (ms) and of energy are better below 1; token p50, p95, p99: percentiles of the time between two "
    "tokens of a process, the median over processes; their ratios are paired by process, as all others are. Verified:"
    " when `zmlx kernels verify` last compared the measured kernels with stock on that device and versions."
)
LEGACY_NOTE = "Imported from the predecessor: unpaired, without an A/A arm. It can reject and never makes a CANDIDATE."
_SHOWN = 5
_STYLES = {
    "PROMOTE": "green",
    "CANDIDATE": "green",
    "NEAR-CANDIDATE": "cyan",
    "REJECT": "red",
    "INCONCLUSIVE": "yellow",
}


def title(group: GroupOverview) -> str:
    """Return the group in one line."""
    key = group.key
    where = f"checkpoint {group.checkpoint} ({words.digest(key.checkpoint)}), {key.backend}, {key.device}"
    return ", ".join([key.family, where, *surroundings(key)])


def surroundings(key: GroupKey) -> Iterator[str]:
    """Yield what else a group's evidence does not cross; conditions only where they are not the default ones."""
    yield from cores_told(key.device, key.cores)
    yield f"mlx {key.mlx}"
    if key.mlx_lm is not None:
        yield f"mlx-lm {key.mlx_lm}"
    yield from words.conditions(key.conditions)


def markdown(groups: Sequence[GroupOverview], legacy: Sequence[LegacyVerdict], refusals: Sequence[Refusal]) -> str:
    """Return the report as Markdown."""
    out = ["# Report", ""]
    for group in groups:
        out += [f"## {plain(title(group))}", ""]
        if group.doubt is not None:
            out += [f"**Default in doubt:** {plain(_sentence(group.doubt))}", ""]
        out += [f"**Recommended:** {plain(_sentence(group.recommendation))}", ""]
        budgets = _budgets(group)
        head = ["#", "variant", *(f"{tokens} tokens (tok/s)" for tokens in budgets), "tokens", "memory"]
        head += [*(["energy"] if _knows_energy(group) else []), "kernels", "verdict"]
        out += _markdown_table(head, _rows(group, budgets))
        out += _beside(group)
        for name, lines in _lists(group):
            out += [f"**{name.capitalize()}**", "", *(f"- {plain(line)}" for line in lines), ""]
    if legacy:
        out += ["## Inherited evidence", "", LEGACY_NOTE, ""]
        out += _markdown_table(
            ["family", "variant", "verdict", "why"],
            [(v.family, v.variant, f"{v.verdict} ({v.reason})", "; ".join(v.why)) for v in legacy],
        )
    if refusals:
        out += ["## Not used", "", *(f"- {plain(r.file)}: {plain(r.why)}" for r in refusals), ""]
    return "\n".join([*out, NOTE]) + "\n" if groups or legacy else "# Report\n\nNo evidence yet: run `zmlx run`.\n"


def tables(
    groups: Sequence[GroupOverview], legacy: Sequence[LegacyVerdict], refusals: Sequence[Refusal]
) -> RenderableType:
    """Return the report for a terminal."""
    parts: list[RenderableType] = []
    for group in groups:
        parts += [Text(title(group), style="bold"), *_ranking(group)]
        if group.doubt is not None:
            parts.append(Flow([f"DEFAULT IN DOUBT: {group.doubt}"], hang=2, style="bold red"))
        parts.append(Flow([f"recommended: {group.recommendation}"], hang=2, style="bold"))
        for name, lines in _lists(group):
            parts.append(Text(f"{name}:", style="bold"))
            parts += [Flow([line], indent=2, hang=2) if name != "next" else Command(line) for line in lines]
        parts.append(Text(""))
    if legacy:
        parts.append(Text(LEGACY_NOTE, style="bold"))
        parts += [Flow([f"{v.family} {v.variant}: {v.verdict} ({v.reason}): {v.why[0]}"], indent=2) for v in legacy]
        parts.append(Text(""))
    if refusals:
        parts.append(Text(f"not used as evidence: {len(refusals)} files (zmlx check lists what is wrong)"))
        parts += [Flow([f"{r.file}: {r.why}"], indent=2) for r in refusals[:_SHOWN]]
    if groups or not parts:
        parts.append(Text(NOTE if groups else "no evidence yet: run `zmlx run`", style="dim"))
    return Group(*parts)


def _ranking(group: GroupOverview) -> Iterator[Flow]:
    """Yield each variant with its verdict, and under it each budget with what was measured beside decode speed."""
    columns, beside = Columns(right=frozenset({0, 2})), Columns()
    titles = measures.titles(found for line in group.lines for found in line.measures.values())
    for line in group.lines:
        for cell in line.cells:
            columns.add(*_cells(cell))
            beside.add(*measures.in_short(line.measures.get(cell.tokens, ()), titles))
    cells = zip(columns.padded(), beside.padded(), strict=True) if titles else ((row, ()) for row in columns.padded())
    for rank, line in enumerate(group.lines, start=1):
        style = _STYLES.get(line.verdict or "", "")
        verdict = Text(_verdict(line), style=style)
        yield Flow([f"{rank:>2}", Text(line.variant, style="bold"), verdict, *_facts(line)], hang=4)
        for _ in line.cells:
            speed, others = next(cells)
            yield Flow(speed, indent=4, hang=6)
            if any(part.strip() for part in others):
                yield Flow(others, indent=8, hang=8, style="dim")


def _cells(cell: MatrixRow) -> tuple[str, ...]:
    arms = ""
    if cell.status == "ok":
        arms = f"{words.number(cell.baseline_decode_tok_s)} -> {words.number(cell.decode_tok_s)} tok/s"
    return f"{cell.tokens} tokens", _ratio(cell), arms


def _facts(line: Line) -> Iterator[str]:
    yield from (fact for fact in (_tokens(line), _memory(line), _energy(line)) if fact != words.DASH)
    if line.kernels:
        yield f"kernels {verified(line)}"


def verified(line: Line) -> str:
    """Return on which day the kernels of a variant were last verified; a dash where it has none, or none are here."""
    if not line.kernels:
        return words.DASH
    return "not verified" if line.verified is None else f"verified {line.verified[:10]}"


def _verdict(line: Line) -> str:
    held = "declared near, " if line.near else ""
    return held + (f"{line.verdict} ({line.reason})" if line.verdict else "no verdict: its capsules are not here")


def _budgets(group: GroupOverview) -> list[int]:
    return sorted({cell.tokens for line in group.lines for cell in line.cells})


def _rows(group: GroupOverview, budgets: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for rank, line in enumerate(group.lines, start=1):
        cells = {cell.tokens: cell for cell in line.cells}
        shown = (_speed(cells.get(tokens)) for tokens in budgets)
        energy = [_energy(line)] if _knows_energy(group) else []
        yield (str(rank), line.variant, *shown, _tokens(line), _memory(line), *energy, verified(line), _verdict(line))


def _speed(cell: MatrixRow | None) -> str:
    if cell is None:
        return words.DASH
    shown = _ratio(cell)
    if cell.status != "ok" or cell.speedup is None:
        return shown
    return f"{shown} {words.number(cell.baseline_decode_tok_s)} -> {words.number(cell.decode_tok_s)}"


def _ratio(cell: MatrixRow) -> str:
    return cell.status if cell.status != "ok" else words.spanned(cell.speedup, cell.speedup_low, cell.speedup_high)


def _tokens(line: Line) -> str:
    known = [c for c in line.cells if c.matched_tokens is not None and c.total_tokens is not None]
    if not known:
        return words.DASH
    matched, total = sum(c.matched_tokens or 0 for c in known), sum(c.total_tokens or 0 for c in known)
    return "identical" if all(c.fidelity == "identical" for c in known) else f"{matched}/{total}"


def _memory(line: Line) -> str:
    peaks = [c for c in line.cells if c.peak_mem_gb is not None]
    if not peaks:
        return words.DASH
    top = max(peaks, key=lambda c: c.peak_mem_gb or 0.0)
    return f"{words.gigabytes(top.peak_mem_gb)} / {words.gigabytes(top.baseline_peak_mem_gb)} GB"


def _energy(line: Line) -> str:
    """Return joules a token at the largest budget where they are known."""
    known = [c for c in line.cells if c.energy_j_per_token is not None]
    if not known:
        return words.DASH
    return (
        f"{words.number(known[-1].energy_j_per_token, 3)} / {words.number(known[-1].baseline_energy_j_per_token, 3)} J"
    )


def _knows_energy(group: GroupOverview) -> bool:
    return any(_energy(line) != words.DASH for line in group.lines)


def _beside(group: GroupOverview) -> list[str]:
    """Return the table of what was measured beside decode speed: stock, variant, and their ratio."""
    every = [(line, tokens, found) for line in group.lines for tokens, found in sorted(line.measures.items())]
    titles = measures.titles(found for *_, found in every)
    if not titles:
        return []
    rows = []
    for line, tokens, found in every:
        cells = {m.title: f"{m.shown_baseline} -> {m.shown} {words.ratio(m.ratio)}" for m in found}
        rows.append((line.variant, str(tokens), *(cells.get(title, words.DASH) for title in titles)))
    return ["**Beside decode speed**", "", *_markdown_table(["variant", "tokens", *titles], rows)]


def _lists(group: GroupOverview) -> Iterator[tuple[str, list[str]]]:
    if group.rejected:
        yield "rejected", [_rejected(line) for line in group.rejected]
    if group.undecided:
        yield "not decided yet", [f"{line.variant}: {_needs(line)}" for line in group.undecided]
    if group.behind:
        yield "behind the default", [f"{line.variant}: {line.verdict}, {line.why}" for line in group.behind]
    if group.closed is not None:
        yield "closed", [group.closed]
    if group.near:
        yield "declared near", [f"{line.variant}: {_near(line)}" for line in group.near]
    if audits := [f"{line.variant}: {line.audit}" for line in group.lines if line.audit is not None]:
        yield "audit", audits
    if group.next_runs:
        yield "next", list(group.next_runs)


def _rejected(line: Line) -> str:
    told = f"{line.variant}: {line.reason}: {line.why}"
    return told if line.breaks_word is None else f"{told}; {line.breaks_word}"


def _near(line: Line) -> str:
    """Return the verdict on a near variant in full: it is no line of the other lists."""
    return f"{line.verdict}, {line.reason}: {line.why}" if line.verdict else "its capsules are not here"


def _needs(line: Line) -> str:
    if line.verdict is None:
        return "its capsules are not here"
    blocks = ""
    if line.verdict == "INCONCLUSIVE" and line.blocks_needed is not None:
        more = "more than " if line.blocks_capped else ""
        blocks = f"; a new session needs {more}{line.blocks_needed} blocks at each budget"
    return f"{line.verdict}, {line.reason}: {line.why}{blocks}"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(plain(cell).replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]
