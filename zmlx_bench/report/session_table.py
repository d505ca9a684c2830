"""The table at the end of `zmlx run`: what one session measured, ranked; no verdict (that is `zmlx promote`)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from zmlx_bench.machine import tested
from zmlx_bench.printable import said
from zmlx_bench.report import measures, words
from zmlx_bench.report.layout import Columns, Command, Fitting, Flow
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.session import Session, Stopped
from zmlx_bench.session.spent import Spent

NOTE = (
    "Ratios are paired by block against the mean of baseline and null arm; intervals are 90%, unadjusted for the "
    "number of variants; of times (ms) and energy (J), below 1 is better. Prefill in tok/s. GB: MLX's peak memory."
)


def ranked(capsules: Sequence[Capsule], tokens: int) -> list[Capsule]:
    """Return the capsules of a budget: identical ones first, each kind by speed-up, failed ones last."""

    def key(capsule: Capsule) -> tuple[int, float]:
        figures = capsule.figures
        if capsule.status != "ok":
            return 2, 0.0
        diverged = figures.fidelity is None or figures.fidelity.verdict != "identical"
        return int(diverged), -(figures.speedup.value if figures.speedup else 0.0)

    return sorted((c for c in capsules if c.tokens == tokens), key=key)


def session_table(
    session: Session, capsules: Sequence[Capsule], spent: Spent | None = None, place: Sequence[str] = ()
) -> Group:
    """Return the tables of a session, one a budget, with the floor of the machine under each, and where time went.

    `place` is what a command must say to find the session's workspace.
    """
    parts: list[Any] = []
    for tokens in session.plan.tokens:
        rows = ranked(capsules, tokens)
        if rows:
            blocks = words.count(session.blocks, "block")
            what = [session.plan.family, f"{tokens} tokens", *words.conditions(session.plan.conditions), blocks]
            title = Text(", ".join(what), style="bold")
            parts += [title, Fitting(_budget_table(rows), _budget_list(rows)), *_beside(rows)]
            parts += [Flow(_floor(rows[0]), style="dim"), Text()]
    if session.stopped is not None:
        parts.append(Text(_stopped(session.stopped, session.plan.blocks)))
    if company := words.company(_busy(capsules), shared=session.shared_device):
        parts.append(Text(company))
    if moved := words.clock_set(session.clock_set_s):
        parts.append(Text(moved))
    audits = {c.variant.name: c.audit for c in capsules if c.audit is not None}
    parts.extend(Text(f"audit of {name}: {words.audit(audit)}") for name, audit in audits.items())
    failed = [c for c in capsules if c.status != "ok"]
    parts.extend(Text(f"{c.variant.name}: {_failure(c)}", style="red") for c in failed)
    if failed:
        parts.append(Flow(["all that its processes printed:", f"capsules/{session.session}/logs/"], style="dim"))
    if spent is not None:
        parts.append(Flow(list(words.spent(spent)), hang=2, style="dim"))
    parts += [Text(NOTE, style="dim"), Flow(["evidence:", f"capsules/{session.session}/", "matrix.jsonl"])]
    parts += [Text("next, for the verdicts:"), Command(shlex.join(["zmlx", "promote", "--dry-run", *place]))]
    return Group(*parts)


def _stopped(stopped: Stopped, most: int) -> str:
    why = {
        "decided": "every variant is decided",
        "futile": "no block that was planned would decide what is left",
        "most": "all that were planned",
    }[stopped.why]
    left = f"; undecided: {', '.join(stopped.undecided)}" if stopped.undecided else ""
    return f"stopped after {stopped.blocks} of at most {most} blocks: {why}{left}"


def session_summary(session: Session, capsules: Sequence[Capsule], spent: Spent | None = None) -> dict[str, Any]:
    """Return the session as one JSON object: its name, plan in short, where time went, and a row for each capsule."""
    return {
        "schema_version": 1,
        "session": session.session,
        "family": session.plan.family,
        "checkpoint": session.plan.checkpoint.model_dump(mode="json"),
        "machine": session.machine.model_dump(mode="json"),
        "tokens": list(session.plan.tokens),
        "conditions": session.plan.conditions.model_dump(mode="json"),
        "blocks": session.blocks,
        "stopped": None if session.stopped is None else session.stopped.model_dump(mode="json"),
        "shared_device": session.shared_device,
        "clock_set_s": session.clock_set_s,
        "cpu_busy_by_others": _busy(capsules),
        "spent": _rounded(spent) if spent is not None else None,
        "audits": {c.variant.name: c.audit.model_dump(mode="json") for c in capsules if c.audit is not None},
        "rows": [row_of(capsule).model_dump(mode="json") for capsule in capsules],
    }


def _rounded(spent: Spent) -> dict[str, float]:
    return {name: round(value, 3) for name, value in {**asdict(spent), "total_s": spent.total_s}.items()}


def _busy(capsules: Sequence[Capsule]) -> float | None:
    known = (c.figures.busy_by_others for c in capsules)
    return max((busy for busy in known if busy is not None), default=None)


def _budget_table(rows: Sequence[Capsule]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)  # fits 80 columns
    table.add_column("#", justify="right")
    table.add_column("variant", min_width=15)
    table.add_column("tok/s", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("90%", no_wrap=True)
    table.add_column("prefill", justify="right", no_wrap=True)
    table.add_column("tokens", min_width=9)
    table.add_column("GB", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    first = rows[0].figures
    table.add_row(
        "",
        "baseline",
        words.number(first.baseline_decode_tok_s),
        "1",
        "",
        words.number(first.baseline_prefill_tok_s, 0),
        "",
        words.gigabytes(first.baseline_memory.peak_mem_gb),
        "ok",
        style="dim",
    )
    for rank, capsule in enumerate(rows, start=1):
        figures = capsule.figures
        table.add_row(
            str(rank),
            capsule.variant.name,
            words.number(figures.decode_tok_s),
            f"{figures.speedup.value:.3f}x" if figures.speedup else words.DASH,
            words.interval(figures.speedup),
            words.number(figures.prefill_tok_s, 0),
            words.fidelity(figures.fidelity),
            words.gigabytes(figures.memory.peak_mem_gb),
            capsule.status,
        )
    return table


def _budget_list(rows: Sequence[Capsule]) -> Group:
    """Return the rows of the table as paragraphs, for terminals that it does not fit."""
    first = rows[0].figures
    stock = [
        "baseline",
        f"{words.number(first.baseline_decode_tok_s)} tok/s",
        f"prefill {words.number(first.baseline_prefill_tok_s, 0)}",
        f"{words.gigabytes(first.baseline_memory.peak_mem_gb)} GB",
    ]
    parts = [Flow(stock, hang=4, style="dim")]
    for rank, capsule in enumerate(rows, start=1):
        figures = capsule.figures
        parts.append(Flow([str(rank), Text(capsule.variant.name, style="bold"), capsule.status], hang=4))
        shown = [
            words.ratio(figures.speedup),
            f"{words.number(figures.decode_tok_s)} tok/s",
            words.fidelity(figures.fidelity),
            f"prefill {words.number(figures.prefill_tok_s, 0)}",
            f"{words.gigabytes(figures.memory.peak_mem_gb)} GB",
        ]
        if capsule.status == "ok":
            parts.append(Flow(shown, indent=4, hang=4))
    return Group(*parts)


def _beside(rows: Sequence[Capsule]) -> Iterator[Flow]:
    """Yield what was measured beside decode speed, a paragraph a variant."""
    found = {c.variant.name: measures.beside(measures.of_capsule(c)) for c in rows if c.status == "ok"}
    columns = Columns()
    for mine in found.values():
        columns.add(*measures.in_short(mine, measures.titles(found.values())))
    for name, parts in zip(found, columns.padded(), strict=True):
        yield Flow([Text(f"{name}:", style="bold"), *parts], hang=4)


def _floor(capsule: Capsule) -> list[str]:
    figures = capsule.figures
    if figures.null is None:
        return ["no null arm: the floor of this machine is unknown"]
    tokens = figures.fidelity.null_identical if figures.fidelity else None
    same = {
        True: "its tokens are the baseline's",
        False: "ITS TOKENS DIFFER FROM THE BASELINE'S",
        None: "tokens unknown",
    }
    return ["null arm (the baseline against itself):", words.ratio(figures.null), same[tokens]]


def _failure(capsule: Capsule) -> str:
    message = next((run.message for run in capsule.own_runs if run.message), "")
    ran = capsule.software
    return f"{capsule.status}: {said(message) or 'no message'}{tested.remark(ran.mlx, ran.mlx_lm, ran.python)}"
