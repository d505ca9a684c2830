"""`matrix.jsonl`: one true row for every capsule, once, in the order in which sessions ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import decoded, loads
from zmlx_bench.findings.compare import compare_models
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative, unreadable
from zmlx_bench.ledger.matrix import read_bytes
from zmlx_bench.schema.matrix import MatrixRow

Numbered = tuple[int, MatrixRow]


def read_rows(root: Path, path: Path) -> tuple[list[Numbered], list[Finding]]:
    """Read the rows that can be read, with their line numbers from 1."""
    name = relative(root, path)
    if not path.exists():
        return [], []
    try:
        lines = read_bytes(path).split(b"\n")
    except UnusableInput as error:
        return [], [unreadable(name, path, error)]
    findings = []
    if lines[-1]:
        findings.append(finding(name, f"line {len(lines)}", "does not end in a newline: cut off"))
    rows: list[Numbered] = []
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        try:
            rows.append((number, decoded(MatrixRow, line.decode(), loads)))
        except ValueError as error:
            findings.append(finding(name, f"line {number}", str(error)))
    return rows, findings


@dataclass(frozen=True)
class Place:
    """Where a capsule's row belongs."""

    session: str
    started: str
    ended: str | None
    """When the session ended; None where it was resumed, so that others may have been recorded in between."""
    number: int
    """The capsule's place in its session's list."""


def check_rows(
    file: str, rows: Sequence[Numbered], expected: Mapping[str, MatrixRow], places: Mapping[str, Place]
) -> Iterator[Finding]:
    """Compare the rows with those that the capsules must have.

    `expected` maps a capsule's path to its row, `places` the path of each capsule of a finished session to where
    its row belongs: rows of a session are written together, sessions one after the other in the order in which
    they ended. Two that ran at once may have ended while the other's rows were under way.
    """
    first: dict[str, int] = {}
    in_order: list[tuple[int, Place]] = []
    for number, row in rows:
        line = f"line {number}"
        if row.capsule in first:
            yield finding(file, line, f"a second row for {row.capsule}, which stands on line {first[row.capsule]}")
            continue
        first[row.capsule] = number
        if row.capsule not in expected:
            yield finding(file, f"{line}.capsule", f"{row.capsule} is missing or cannot be read")
            continue
        yield from compare_models(file, line, row, expected[row.capsule], f"{row.capsule} says")
        if row.capsule in places:
            in_order.append((number, places[row.capsule]))
    yield from _order(file, in_order)
    for capsule in places:
        if capsule in expected and capsule not in first:
            yield finding(file, "rows", f"no row for {capsule}: deleted")


def _order(file: str, rows: Sequence[tuple[int, Place]]) -> Iterator[Finding]:
    closed: set[str] = set()
    latest_start = ""
    before: Place | None = None
    for number, place in rows:
        line = f"line {number}"
        if before is not None and place.session == before.session:
            if place.number < before.number:
                yield finding(file, line, f"out of order: written before the row above it, see {place.session}")
        elif place.session in closed:
            yield finding(file, line, f"out of order: apart from the other rows of {place.session}")
        elif place.ended is not None:
            if place.ended < latest_start:
                yield finding(file, line, f"out of order: {place.session} ended before the sessions above it")
            latest_start = max(latest_start, place.started)
        closed.add(place.session)
        before = place
