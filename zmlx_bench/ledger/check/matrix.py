"""`matrix.jsonl` and the `rows.jsonl` of sessions: one true row for every capsule, once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import decoded, loads, refuse_outside
from zmlx_bench.findings.compare import compare_models
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative, unreadable
from zmlx_bench.ledger.conflict import MESSAGE, is_mark
from zmlx_bench.ledger.matrix import read_bytes
from zmlx_bench.schema.matrix import MatrixRow

Numbered = tuple[int, MatrixRow]


def read_rows(root: Path, path: Path) -> tuple[list[Numbered], list[Finding]]:
    """Read the rows that can be read, with their line numbers from 1."""
    name = relative(root, path)
    if not path.exists():
        return [], []
    try:
        refuse_outside(root, path)
        lines = read_bytes(path).split(b"\n")
    except UnusableInput as error:
        return [], [unreadable(name, path, error)]
    findings = []
    if lines[-1]:
        findings.append(finding(name, f"line {len(lines)}", "does not end in a newline: cut off"))
    rows: list[Numbered] = []
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        if is_mark(line.decode("utf-8", "replace")):
            findings.append(finding(name, f"line {number}", MESSAGE))
            continue
        try:
            rows.append((number, decoded(MatrixRow, line.decode(), loads)))
        except ValueError as error:
            findings.append(finding(name, f"line {number}", str(error)))
    return rows, findings


def check_rows(
    file: str,
    rows: Sequence[Numbered],
    expected: Mapping[str, MatrixRow],
    recorded: Collection[str],
    remedy: str = "",
) -> Iterator[Finding]:
    """Compare the rows with those that the capsules must have; their order means nothing.

    `expected` maps a capsule's path to its row; `recorded` holds the paths of the capsules of finished sessions,
    none of which may lack one; `remedy` is what can be done where one does.
    """
    first: dict[str, int] = {}
    for number, row in rows:
        line = f"line {number}"
        if row.capsule in first:
            yield finding(file, line, f"a second row for {row.capsule}, which stands on line {first[row.capsule]}")
            continue
        first[row.capsule] = number
        if row.capsule not in expected:
            yield finding(file, f"{line}.capsule", f"{row.capsule} is missing or cannot be read")
            continue
        # Rows from before they told what their evidence is bound to stand as they are.
        told = {} if row.identity is not None else {"identity": None}
        right = expected[row.capsule].model_copy(update=told)
        yield from compare_models(file, line, row, right, f"{row.capsule} says")
    for capsule in recorded:
        if capsule in expected and capsule not in first:
            yield finding(file, "rows", f"no row for {capsule}: deleted{remedy}")
