"""What `zmlx screen` shows: the table of variants, what was dropped and why, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zmlx_bench.analysis.screen import drifted
from zmlx_bench.printable import said
from zmlx_bench.report import words
from zmlx_bench.report.layout import Command, Fitting, Flow
from zmlx_bench.screen.request import MOST_PROCESSES
from zmlx_bench.screen.schema import ScreenedProcess, ScreenedVariant, Screening, Surroundings

NOTE = (
    "Ratios are paired within processes against stock; intervals are 90% over processes, unadjusted. Tokens were "
    "compared on one prompt. A screening sorts: it is no evidence, and nothing of it is recorded."
)
QUIETER = (
    "a stock model changed its speed while it was measured: the machine was busy with something else, or grew warm. "
    "Close what else runs (on a GPU, what takes the processors that feed it too), let it cool, and screen again"
)
ENOUGH = 3
"""Processes that count, of each set of variables, for an interval to say something."""
_SAYS = {"session": "worth a session", "more": "undecided", "no": "no gain above the floor", None: ""}


def view(found: Screening) -> Group:
    """Return the whole answer."""
    state = "" if found.state == "finished" else ", interrupted"
    state += ", the device was shared with another session on request" if found.shared_device else ""
    title = f"{found.family}, {found.tokens} tokens, {_counted(found)}{state}"
    parts: list[RenderableType] = [Text(title, "bold"), ratios(found)]
    parts += [Flow([line], hang=4, style="dim") for line in map(stock_line, found.surroundings) if line]
    parts += reasons(found.variants)
    waiting = [row.variant for row in found.variants if row.status == "waiting"]
    parts += [Flow(["not measured:", *waiting], hang=4)] if waiting else []
    parts += [Flow([dropped_line(one)], hang=4) for one in found.ran if one.reason is not None]
    parts += [Flow([quieter(found)], hang=4)] if any(not one.counts and drifted(one.drift) for one in found.ran) else []
    parts.append(Flow([NOTE], style="dim", hang=0))
    if found.session is not None:
        parts += [Text("next, a session of those worth one:"), Command(found.session)]
    if found.again is not None:
        parts += [Text("to decide about the undecided:"), Command(found.again)]
    return Group(*parts)


def ratios(found: Screening) -> RenderableType:
    """Return the table of the variants that have a ratio, or that none has."""
    rows = [row for row in found.variants if row.ratio is not None]
    if not rows:
        return Text("no variant has a ratio")
    return Fitting(_table(rows), _lines(rows))


def _table(rows: Sequence[ScreenedVariant]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    made.add_column("variant")
    for column in ("speed-up", "processes", "for +-1%"):
        made.add_column(column, justify="right")
    made.add_column("")
    for row in rows:
        made.add_row(row.variant, words.ratio(row.ratio), str(_processes(row)), _needed(row), _says(row))
    return made


def _lines(rows: Sequence[ScreenedVariant]) -> Group:
    counts = (f"{_processes(row)} processes ({_needed(row)} for +-1%)" for row in rows)
    cells = zip(rows, counts, strict=True)
    return Group(*(Flow([row.variant, words.ratio(row.ratio), count, _says(row)], hang=4) for row, count in cells))


def stock_line(of: Surroundings) -> str:
    """Return in one line how the stock model ran under one set of variables; empty where nothing is known."""
    if of.decode_tok_s is None:
        return ""
    line = f"stock{_under(of.env)}: {of.decode_tok_s:.1f} tok/s, again {words.ratio(of.null)}"
    if of.against_default is not None:
        line += f"; {words.ratio(of.against_default)} of stock without them, which a session's ratios include"
    return line


def reasons(rows: Sequence[ScreenedVariant]) -> list[RenderableType]:
    """Return why variants have no ratio: each reason with those that it holds for."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.reason is not None:
            at = f" after {row.matched} tokens" if row.matched is not None else ""
            found.setdefault(f"{row.status}{at}: {said(row.reason)}:", []).append(row.variant)
    return [Flow([reason, *names], hang=4) for reason, names in found.items()]


def dropped_line(process: ScreenedProcess) -> str:
    """Return in one line why a process does not count."""
    return f"process {process.number}{_under(process.env)} does not count: {said(process.reason)}"


def quieter(found: Screening) -> str:
    """Return what to do where processes were dropped because stock changed its speed.

    The share that counts is that of the set of variables where it is least, and of the processes that counted or
    drifted: one that was run again, or has other tokens, says nothing of how quiet the machine is.
    """
    sets: dict[tuple[tuple[str, str], ...], list[bool]] = {}
    for one in found.ran:
        if one.counts or drifted(one.drift):
            sets.setdefault(tuple(sorted(one.env.items())), []).append(one.counts)
    counted, ran = min(((sum(each), len(each)) for each in sets.values()), key=lambda share: share[0] / share[1])
    enough = math.ceil(ENOUGH * ran / counted) if counted else MOST_PROCESSES + 1
    if enough <= found.processes:
        return f"{QUIETER}."
    if enough > MOST_PROCESSES:
        return f"{QUIETER}; a session of the few variants that matter drops no process"
    return (
        f"{QUIETER}. Where neither can be helped, --processes {enough} leave about {ENOUGH} of each set of variables "
        f"that count, at the {counted} of {ran} of now; a session of the few variants that matter drops none"
    )


def nothing(found: Screening) -> bool:
    """Whether nothing can be said of any variant: each is unavailable or in no process that counts."""
    return not any(row.ratio is not None or row.status not in ("unavailable", "waiting") for row in found.variants)


def _processes(row: ScreenedVariant) -> int:
    return len(row.ratio.blocks) if row.ratio is not None else 0


def _needed(row: ScreenedVariant) -> str:
    return words.DASH if row.needed is None else str(row.needed)


def _says(row: ScreenedVariant) -> str:
    return "unfinished process" if row.ratio is not None and not row.ratio.blocks else _SAYS[row.advice]


def _counted(found: Screening) -> str:
    count = sum(one.counts for one in found.ran)
    return f"{count} of {len(found.ran)} processes count, {found.seconds} s"


def _under(env: Mapping[str, str]) -> str:
    return f" under {' '.join(f'{name}={value}' for name, value in env.items())}" if env else ""
