"""The list of `zmlx environments`, and one environment for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zmlx_bench.report import words
from zmlx_bench.report.layout import Flow
from zmlx_bench.schema.environment import Environment


def environment_list(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return what `zmlx environments list` shows."""
    parts: list[RenderableType] = []
    for row in rows:
        parts.append(Flow([Text(row["name"], style="bold"), *_state(row)], hang=4))
        parts.append(Flow(row["asked"], indent=4, hang=4))
        if row["why"]:
            parts.append(Flow([row["why"]], indent=4, style="dim"))
    if not rows:
        parts.append(Text("no environment is declared in variants/environments.toml, and none is kept"))
    taken = sum(row["bytes"] or 0 for row in rows)
    return Group(*parts, Text(f"the cache keeps {taken / 1e6:.0f} MB of environments", style="dim"))


def _state(row: Mapping[str, Any]) -> Iterator[str | Text]:
    if row["wrong"] is not None:
        yield Text(row["wrong"], style="red")
    elif row["by"] == "python":
        yield "its owner's"
    elif row["key"] is None:
        yield f"not made: zmlx environments make {row['name']}"
    else:
        yield from (row["key"], f"{row['bytes'] / 1e6:.0f} MB", f"mlx {row['mlx']}", f"mlx-lm {row['mlx_lm']}")
        yield f"made {row['made'][:10]} by {row['maker']}"
        if row["lacks"] is not None:
            yield Text(f"cannot measure: {row['lacks']}", style="yellow")


def environment_view(
    environment: Environment, python: Path, primitives: Mapping[str, str | None] = MappingProxyType({})
) -> RenderableType:
    """Return what one environment is; `primitives` gives the module of its MLX that has each, None for none."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("environment", environment.asked)
    if environment.requirements:
        table.add_row("requirements", ", ".join(environment.requirements))
    table.add_row("Python", f"{environment.implementation} {environment.python}, {environment.platform}, {python}")
    for line in package_lines(environment):
        table.add_row(*line)
    for name, where in primitives.items():
        table.add_row("primitive", f"{name}, in {where}" if where is not None else f"{name}: not in this MLX")
    table.add_row("distributions", f"{len(environment.distributions)}, each with its hash (--json lists them)")
    table.add_row("digest", environment.digest[: words.SHORT])
    lacks = Text("can measure", style="green") if environment.lacks is None else Text(environment.lacks, style="red")
    table.add_row("measuring", lacks)
    return table


def package_lines(environment: Environment) -> Iterator[tuple[str, str]]:
    """Yield what of MLX and mlx-lm runs in an environment."""
    for name, package in environment.packages.items():
        parts = [package.version or "no version", f"files {package.sha256[: words.SHORT]}"]
        if package.commit is not None:
            parts.append(f"commit {package.commit[: words.SHORT]}{' (dirty)' if package.dirty else ''}")
        yield name.replace("_", "-"), ", ".join(parts)
