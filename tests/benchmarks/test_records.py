"""Figures of `zmlx kernels bench` that are kept: they stay readable, and what they call stock's was."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench import files
from zmlx_bench.bench.schema import BenchReport

RECORDS = sorted((Path(__file__).resolve().parents[2] / "benchmarks" / "records").glob("*.json"))


def test_there_are_records() -> None:
    assert RECORDS


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_read_and_nothing_in_it_differs_from_stock(path: Path) -> None:
    report = files.read_json(path, BenchReport)
    figures = [row.figures for row in report.rows if row.figures is not None]
    assert figures
    assert all(each.differing == 0 for each in figures)
