"""Fills the templates: one HTML file with its styles, its script, plotly.js and every figure inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from zmlx_bench import __version__
from zmlx_bench.printable import printable
from zmlx_bench.report import words
from zmlx_bench.report.build import Report
from zmlx_bench.report.html import charts
from zmlx_bench.report.html.views import Builder, Charts, block_chart, budget
from zmlx_bench.report.overview_text import LEGACY_NOTE, NOTE
from zmlx_bench.schema.base import utc_now
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.policy import Policy
from zmlx_bench.workspace import Workspace

_IN_BACKTICKS = re.compile(r"`([^`]+)`")


def report_page(report: Report, workspace: Workspace, policy: Policy, beside: Path) -> str:
    """Return the report as a page that lies in the folder `beside`, from which its links to capsules lead."""
    found = Charts()
    builder = Builder(workspace, policy, beside, found)
    groups = [builder.group(number, overview) for number, overview in enumerate(report.groups, start=1)]
    verdicts = sorted({line.verdict for group in report.groups for line in group.lines if line.verdict})
    return _render(
        "report.html.j2", found, groups=groups, verdicts=verdicts, legacy=report.legacy, refusals=report.refusals,
        note=NOTE, legacy_note=LEGACY_NOTE, policy=policy,
    )  # fmt: skip


def capsule_page(capsule: Capsule) -> str:
    """Return one capsule as a page."""
    found = Charts()
    figures = capsule.figures
    rows = [charts.ForestRow(capsule.variant.name, capsule.tokens, figures.speedup, None)] if figures.speedup else []
    if figures.incumbent is not None:
        rows.append(charts.ForestRow("against the incumbent", capsule.tokens, figures.incumbent, None))
    if figures.null is not None:
        rows.append(charts.ForestRow("null arm", capsule.tokens, figures.null, None, is_null=True))
    return _render(
        "capsule.html.j2", found, capsule=capsule, view=budget(capsule, None, found),
        forest=found.add(charts.forest(rows)) if rows else None, blocks=found.add(block_chart([capsule])),
        audit=words.audit(capsule.audit) if capsule.audit else "",
    )  # fmt: skip


def _render(template: str, found: Charts, **values: Any) -> str:
    # Imported here: only a page needs it, and a command that makes none shall not wait for it.
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("zmlx_bench.report.html"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    environment.filters.update(
        number=words.number, gigabytes=words.gigabytes, ratio=words.ratio, interval=words.interval, commands=_commands
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    source = environment.loader
    assert source is not None
    style, script = (Markup(source.get_source(environment, name)[0]) for name in ("style.css", "page.js"))
    return environment.get_template(template).render(
        figures=found.figures, height=found.height, style=style, script=script, plotly=Markup(get_plotlyjs()),
        made=utc_now(), version=__version__, **values,
    )  # fmt: skip


def _commands(text: str) -> Markup:
    """Return a sentence, escaped, with what stands in backticks as code."""
    return Markup(_IN_BACKTICKS.sub(r"<code>\1</code>", str(escape(printable(text)))))


def _shown(value: Any) -> Any:
    """Show control and bidirectional characters of what artifacts say as escapes; the page's own parts stay."""
    return printable(value) if type(value) is str else value
