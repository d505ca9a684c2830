"""The matrix is written where something came, takes a small share of the head's time, and is whole at the end."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from zmlx_bench.fleet import rows
from zmlx_bench.workspace import Workspace


def test_it_is_written_as_seldom_as_writing_it_takes_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, written = [1000.0], []

    def write(_workspace: Workspace) -> None:
        written.append(now[0])
        now[0] += 2.0

    monkeypatch.setattr(rows.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(rows.matrix, "write", write)
    matrix = rows.Rows(Workspace(tmp_path))
    assert written == [1000.0], "what a killed head left is written at once"
    for _ in range(300):
        now[0] += 1.0
        matrix.came(anything=True)
    between = [after - before - 2.0 for before, after in pairwise(written)]
    assert between
    assert all(2.0 * rows.SHARE <= took <= 2.0 * rows.SHARE + 1.0 for took in between)
    matrix.came(anything=True)
    matrix.came(anything=True)
    before, last = len(written), now[0]
    matrix.write()
    matrix.write()
    assert written[before:] == [last], "what came since is written at the end, once"
    now[0] += 1000.0
    matrix.came(anything=False)
    assert written[-1] == last
