"""The event log: what was written is read back, whatever a kill left of its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.schema.event import JobEnd, JobEvent, JobStart, Token
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.session.log import EventLog, cut_torn_line, read

TIME = "2030-01-01T00:00:00.000Z"


def job(number: int, tokens: int) -> list[JobStart | JobEvent | JobEnd]:
    events = [JobEvent(job=number, at=float(i), event=Token(id=i, t_ns=i)) for i in range(tokens)]
    end = JobEnd(job=number, time=TIME, status="ok", exit_code=0, after=MachineState())
    return [JobStart(job=number, time=TIME, before=MachineState()), *events, end]


def write(path: Path, *jobs: tuple[int, int]) -> None:
    log = EventLog(path)
    for number, tokens in jobs:
        for line in job(number, tokens):
            log.write(line)
    log.sync()
    log.close()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path / "log", (0, 3), (1, 0))
    found = read(tmp_path / "log")
    assert {number: len(log.events) for number, log in found.items()} == {0: 3, 1: 0}
    assert [e.event.id for e in found[0].events if isinstance(e.event, Token)] == [0, 1, 2]
    assert read(tmp_path / "none") == {}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_log_cut_anywhere_holds_the_jobs_that_had_ended_and_can_be_continued(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    write(path, (0, 2), (1, 2), (2, 1))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:at])
    ended = [n for n in range(3) if whole[:at].count(b'"kind":"end"') > n and whole[:at].count(b"\n") > 0]
    found = read(path)
    assert set(found) <= set(ended)
    assert all(len(log.events) == (1 if number == 2 else 2) for number, log in found.items())
    missing = [n for n in range(3) if n not in found]
    write(path, *((n, 1 if n == 2 else 2) for n in missing))
    again = read(path)
    assert {n: len(log.events) for n, log in again.items()} == {0: 2, 1: 2, 2: 1}


def test_a_voided_attempt_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = EventLog(path)
    for line in job(0, 5)[:-1]:
        log.write(line)
    log.close()
    write(path, (0, 2))
    assert len(read(path)[0].events) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"not json\n", "line 3: "),
        (b'{"kind":"surprise"}\n', "line 3: "),
        (b'{"kind":"event","job":7,"at":0,"event":{"event":"token","id":1,"t_ns":1}}\n', "line 3: job 7 has no start"),
    ],
)
def test_an_edited_log_is_refused_with_its_line(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "log"
    write(path, (0, 0))
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(UnusableInput, match=says):
        read(path)


def test_only_a_torn_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for left, kept in ((b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"a", b""), (b"", b"")):
        path.write_bytes(left)
        cut_torn_line(path)
        assert path.read_bytes() == kept
    cut_torn_line(tmp_path / "none")


def test_a_place_that_takes_no_log(tmp_path: Path) -> None:
    with pytest.raises(CannotHere, match="cannot be written"):
        EventLog(tmp_path / "no" / "folder" / "log")


def test_a_job_that_ended_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "log", (0, 1), (0, 1))
    with pytest.raises(UnusableInput, match="line 6: job 0 ended before"):
        read(tmp_path / "log")
