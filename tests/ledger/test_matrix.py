"""Rows: a file in each session's folder, and the matrix that is written from them."""

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
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


def row(session: str, part: str = "a") -> MatrixRow:
    fields = {"session": session, "capsule": f"capsules/{session}/{part}.json"}
    return MatrixRow.model_validate({**example(MatrixRow), **fields})


def names(place: Workspace) -> list[str]:
    return [found.capsule.removeprefix("capsules/").removesuffix(".json") for found in matrix.read(place.matrix)]


def lines(*rows: MatrixRow) -> bytes:
    return b"".join(row.model_dump_json().encode() + b"\n" for row in rows)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "deep")


def test_the_matrix_is_sorted_by_session_whichever_was_recorded_first(place: Workspace) -> None:
    matrix.record(place, "s2", [row("s2", "b"), row("s2", "a")])
    matrix.record(place, "s1", [row("s1")])
    assert names(place) == ["s1/a", "s2/b", "s2/a"]
    assert place.matrix.read_bytes() == b"".join((place.session(s) / "rows.jsonl").read_bytes() for s in ("s1", "s2"))


def test_what_is_recorded_again_replaces_what_was(place: Workspace) -> None:
    matrix.record(place, "s1", [row("s1", "a"), row("s1", "b")])
    matrix.record(place, "s1", [row("s1", "b"), row("s1", "c")])
    assert names(place) == ["s1/b", "s1/c"]
    assert matrix.write(place) is False


def test_rows_of_before_there_were_files_move_to_their_sessions_byte_for_byte(place: Workspace) -> None:
    for session in ("s1", "s2"):
        place.session(session).mkdir(parents=True)
    old = lines(row("s2", "b"), row("s2", "a")).replace(b",", b", ") + lines(row("s1"), row("gone"))
    place.matrix.write_bytes(old)
    matrix.record(place, "s3", [row("s3")])
    assert names(place) == ["gone/a", "s1/a", "s2/b", "s2/a", "s3/a"]
    assert sorted(place.matrix.read_bytes().split(b"\n")) == sorted((old + lines(row("s3"))).split(b"\n"))
    assert (place.session("s2") / "rows.jsonl").read_bytes() == b"".join(old.splitlines(keepends=True)[:2])
    assert not place.session("gone").exists()


def test_a_matrix_with_a_conflict_is_made_again_from_both_sides(place: Workspace) -> None:
    matrix.record(place, "s1", [row("s1")])
    place.session("old").mkdir()
    whole = lines(row("old"), row("s1"))
    ours, theirs = whole, whole + lines(row("gone"))
    place.matrix.write_bytes(b"<<<<<<< HEAD\n" + ours + b"=======\n" + theirs + b">>>>>>> theirs\n")
    with pytest.raises(UnusableInput, match="line 1: holds a conflict of Git's; `zmlx promote` writes the file again"):
        matrix.read(place.matrix)
    assert matrix.write(place)
    assert names(place) == ["gone/a", "old/a", "s1/a"]


@pytest.mark.parametrize("session", ["../outside", "/tmp", "", ".", "a/b", "x" * 300])
def test_a_row_leads_nowhere_but_to_a_session(place: Workspace, tmp_path: Path, session: str) -> None:
    place.capsules.mkdir(parents=True)
    line = row("s1").model_dump_json().replace('"session":"s1"', f'"session":"{session}"')
    place.matrix.write_text(line + "\n")
    matrix.write(place)
    assert list(tmp_path.rglob("rows.jsonl")) == []


RECORD = """
import sys
from pathlib import Path
from tests.ledger.test_matrix import row
from zmlx_bench.ledger import matrix
from zmlx_bench.workspace import Workspace
for i in range(20):
    matrix.record(Workspace(Path(sys.argv[1])), f"{sys.argv[2]}{i}", [row(f"{sys.argv[2]}{i}")])
"""


def test_processes_that_record_at_once_lose_and_double_nothing(place: Workspace) -> None:
    command = [sys.executable, "-c", RECORD, str(place.root)]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("x", "y")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert names(place) == sorted(f"{name}{i}/a" for name in ("x", "y") for i in range(20))


def test_a_lock_that_stays_held_is_no_endless_wait(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.root.mkdir()
    monkeypatch.setattr(locks, "TIMEOUT_S", 0.1)
    with (
        FileLock(f"{place.matrix}.lock"),
        pytest.raises(CannotHere, match=r"another process has held its lock for 0\.1 s"),
    ):
        matrix.record(place, "s1", [row("s1")])
    assert not place.matrix.exists()


@pytest.mark.parametrize("cut", [1, 2, 50])
def test_a_torn_last_line_is_mended_by_the_next_session(place: Workspace, cut: int) -> None:
    matrix.record(place, "s1", [row("s1", "a"), row("s1", "b")])
    place.matrix.write_bytes(place.matrix.read_bytes()[:-cut])
    matrix.record(place, "s2", [row("s2")])
    assert names(place) == ["s1/a", "s1/b", "s2/a"]


@pytest.mark.parametrize(("line", "says"), [("{", "line 2: "), ('{"schema_version": 1}', "line 2: time: is missing")])
def test_a_bad_row_is_named_by_its_line(place: Workspace, line: str, says: str) -> None:
    matrix.record(place, "s1", [row("s1")])
    with place.matrix.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UnusableInput, match=says) as error:
        matrix.read(place.matrix)
    assert str(error.value).endswith("; `zmlx promote` writes the file again")
