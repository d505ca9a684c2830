"""What a worker has rewritten is what pytest reads, and is not rewritten again."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.assertion import rewrite

from tests import rewritten

NAMES = ("test_one.py", "test_two.py", "below/test_three.py")


@pytest.mark.parametrize("worker", [0, 1, 2])
def test_pytest_reads_what_a_worker_left(pytestconfig: pytest.Config, tmp_path: Path, worker: int) -> None:
    (tmp_path / "below").mkdir()
    for name in NAMES:
        (tmp_path / name).write_text("def test() -> None:\n    assert [1] == [2]\n")
    (tmp_path / "test_begun.py").write_text("def test(\n")
    (tmp_path / "test_bytes.py").write_bytes(b"x = '\xff\x00'\n")
    rewritten.begin(pytestconfig, worker, 3, tmp_path)
    kept = [rewrite.get_cache_dir(path := tmp_path / name) / (path.stem + rewrite.PYC_TAIL) for name in NAMES]
    for name, file in zip(NAMES, kept, strict=True):
        code = rewrite._read_pyc(tmp_path / name, file)
        assert code is not None
        assert "@pytest_ar" in code.co_names, "its assertions are rewritten"
    before = [file.stat().st_mtime_ns for file in kept]
    rewritten.begin(pytestconfig, 0, 1, tmp_path)
    assert [file.stat().st_mtime_ns for file in kept] == before
