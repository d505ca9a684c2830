"""The matrix: rows appended once, whole, under a lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.schema.strategies import example
from zmlx_bench import locks
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.ledger import matrix
from zmlx_bench.schema.matrix import MatrixRow

ROOT = Path(__file__).resolve().parents[2]


def row(name: str) -> MatrixRow:
    return MatrixRow.model_validate({**example(MatrixRow), "capsule": name})


def test_a_capsule_has_one_row_however_often_it_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "matrix.jsonl"
    assert matrix.append(path, [row("a"), row("b")]) == 2
    assert matrix.append(path, [row("b"), row("c")]) == 1
    assert matrix.append(path, [row("a")]) == 0
    assert [found.capsule for found in matrix.read(path)] == ["a", "b", "c"]


APPEND = """
import sys
from pathlib import Path
from tests.ledger.test_matrix import row
from zmlx_bench.ledger import matrix
for i in range(20):
    matrix.append(Path(sys.argv[1]), [row(f"{sys.argv[2]}{i}"), row(f"same{i}")])
"""


def test_processes_that_append_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "matrix.jsonl"
    command = [sys.executable, "-c", APPEND, str(path)]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("x", "y")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    names = [found.capsule for found in matrix.read(path)]
    assert sorted(names) == sorted(f"{name}{i}" for name in ("x", "y", "same") for i in range(20))


def test_a_lock_that_stays_held_is_no_endless_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "matrix.jsonl"
    monkeypatch.setattr(locks, "TIMEOUT_S", 0.1)
    with FileLock(f"{path}.lock"), pytest.raises(CannotHere, match=r"another process has held its lock for 0\.1 s"):
        matrix.append(path, [row("a")])
    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 2, 50])
def test_a_torn_last_line_is_mended_before_the_next_row(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "matrix.jsonl"
    matrix.append(path, [row("a"), row("b")])
    path.write_bytes(path.read_bytes()[:-cut])
    matrix.append(path, [row("c")])
    names = [found.capsule for found in matrix.read(path)]
    assert names == (["a", "b", "c"] if cut == 1 else ["a", "c"])


@pytest.mark.parametrize(("line", "says"), [("{", "line 2: "), ('{"schema_version": 1}', "line 2: time: Field requi")])
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "matrix.jsonl"
    matrix.append(path, [row("a")])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UnusableInput, match=says):
        matrix.read(path)
