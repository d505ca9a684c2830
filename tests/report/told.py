"""What a report says, for the tests of it."""

from __future__ import annotations

from rich.console import Console

from zmlx_bench.report import overview_text
from zmlx_bench.report.build import Report
from zmlx_bench.report.overview import GroupOverview


def only(report: Report) -> GroupOverview:
    """The one group of a report."""
    assert len(report.groups) == 1
    return report.groups[0]


def shown(report: Report) -> str:
    """What a wide terminal shows."""
    console = Console(width=200)
    with console.capture() as captured:
        console.print(overview_text.tables(report.groups, report.legacy, report.refusals))
    return captured.get()
