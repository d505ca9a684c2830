"""What the action says of promotions under another MLX.

python upgrade.py newer MADE.json, with the Python of zmlx: whether the MLX or mlx-lm of an environment is another than
the one beside zmlx; 1 where neither is. python upgrade.py told FOUND.json EXIT_CODE: the job's summary and outputs.
Standard library only.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from summary import append, cell

SAID = {
    "held": "holds",
    "fails": "**does not hold**",
    "undecided": "undecided",
    "unmeasured": "cannot be measured here",
}


def main() -> int:
    """Do what is asked; return the exit code."""
    what, file = sys.argv[1], Path(sys.argv[2])
    text = file.read_text(encoding="utf-8")
    if what == "newer":
        there = {name: one["version"] for name, one in json.loads(text)["packages"].items()}
        return 0 if newer(there) else 1
    found = json.loads(text) if text.strip() else None
    append("GITHUB_STEP_SUMMARY", summary(found, int(sys.argv[3])))
    append("GITHUB_OUTPUT", f"exit-code={sys.argv[3]}\n")
    return 0


def newer(there: dict[str, str | None]) -> bool:
    """Say what differs, and return whether anything does."""
    here = {name: _here(name) for name in ("mlx", "mlx_lm")}
    other = [f"{name} {here[name]} -> {there.get(name)}" for name in here if there.get(name) != here[name]]
    print("to be checked:" if other else "no other MLX or mlx-lm than here: nothing to check", ", ".join(other))
    return bool(other)


def _here(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def summary(found: dict[str, Any] | None, code: int) -> str:
    """Return the Markdown of the job summary."""
    if found is None:
        return f"## zmlx upgrade-check: not checked\n\nIt ended with exit code {code}; the log says why.\n\n"
    rows = [
        f"| {cell(one['family'])} | {cell(one['checkpoint'])} | {one['backend']} | {cell(one['variant'])} "
        f"| {SAID.get(one['said'], 'not finished')} | {cell(one['why'])} |"
        for one in found["promotions"]
    ]
    head = ["| family | checkpoint | backend | variant | | why |", "| --- | --- | --- | --- | --- | --- |"]
    table = [*head, *rows] if rows else ["Nothing is promoted here."]
    return "\n".join([f"## zmlx upgrade-check: {cell(found['environment'])}", "", *table, "", ""])


if __name__ == "__main__":
    raise SystemExit(main())
