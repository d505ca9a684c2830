"""Turn the JSON of `zmlx check` into a job summary, annotations on the changed files, and the step's outputs.

Usage: python summary.py FOUND.json EXIT_CODE WORKSPACE, with GITHUB_STEP_SUMMARY and GITHUB_OUTPUT in the environment.
Standard library only: it runs before anybody knows whether zmlx could be installed.
"""

from __future__ import annotations

import json
import os
import posixpath
import sys
from pathlib import Path
from typing import Any

SHOWN = 50
"""Faults in the summary, and annotations: GitHub cuts both, and the log has all of them."""


def main() -> None:
    """Read what was found and write everything that GitHub shows of it."""
    found, code, workspace = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    text = found.read_text(encoding="utf-8")
    checked: dict[str, Any] | None = json.loads(text) if text.strip() else None
    append("GITHUB_STEP_SUMMARY", summary(checked, code))
    append("GITHUB_OUTPUT", f"exit-code={code}\nfaults={'' if checked is None else len(checked['findings'])}\n")
    faults = checked["findings"] if checked else []
    for fault in faults:
        # In one line that does not begin with the fault's words: what a runner reads as a command begins a line.
        print("fault:", *f"{fault['file']}: {fault['field']}: {fault['message']}".split())
    for fault in faults[:SHOWN]:
        file = posixpath.normpath(posixpath.join(workspace, fault["file"]))
        print(f"::error file={parameter(file)}::{data(fault['field'] + ': ' + fault['message'])}")


def summary(checked: dict[str, Any] | None, code: int) -> str:
    """Return the Markdown of the job summary."""
    if checked is None:
        return f"## zmlx check: not checked\n\n`zmlx check` ended with exit code {code}; the log says why.\n\n"
    faults = checked["findings"]
    counts = f"{checked['capsules']} capsules, {checked['sessions']} sessions, {checked['rows']} matrix rows"
    if not faults:
        return f"## zmlx check: everything holds\n\nRecomputed from the raw numbers: {counts}.\n\n"
    lines = [
        f"## zmlx check: {len(faults)} fault{'' if len(faults) == 1 else 's'}",
        "",
        f"Recomputed from the raw numbers: {counts}.",
        "",
        "| file | field | what is wrong |",
        "| --- | --- | --- |",
        *(f"| {cell(f['file'])} | {cell(f['field'])} | {cell(f['message'])} |" for f in faults[:SHOWN]),
    ]
    if len(faults) > SHOWN:
        lines += ["", f"and {len(faults) - SHOWN} more, which stand in the log."]
    return "\n".join([*lines, "", ""])


def cell(text: str) -> str:
    """Escape what would end a table's cell or begin markup: a pull request chooses these words."""
    text = " ".join(text.split())
    for character in "\\`*_[]":
        text = text.replace(character, f"\\{character}")
    for character in "&<>|":
        text = text.replace(character, f"&#{ord(character)};")
    return text


def data(text: str) -> str:
    """Escape the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def parameter(text: str) -> str:
    """Escape a property of a workflow command."""
    return data(text).replace(":", "%3A").replace(",", "%2C")


def append(variable: str, text: str) -> None:
    """Append to the file that an environment variable names."""
    with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
