"""Several at once: sessions on one device, writers of one matrix, readers of a workspace that is being written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV
from tests.reliability.sessions import ROOT, run, start
from tests.reliability.standin import COMMAND
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.report.build import build
from zmlx_bench.session import store
from zmlx_bench.workspace import SESSION_FILE, Workspace

SLOW = {"STANDIN_TOKEN_S": "30"}


@contextlib.contextmanager
def measuring(workspace: Workspace, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Keep a session at work on the device: its first process alone would take minutes."""
    before = set(workspace.capsules.glob("*/events.jsonl"))
    process = start(workspace, *more, env=SLOW)
    deadline = time.monotonic() + 60
    while not set(workspace.capsules.glob("*/events.jsonl")) - before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def others(make_workspace: Callable[..., Workspace]) -> Workspace:
    """The workspace of the session that came first."""
    return make_workspace()


@dataclass(frozen=True)
class Turns:
    """What became of sessions in another workspace while the first one measured."""

    workspace: Workspace
    first: int
    name: str
    """Of the first one's session, which was stopped."""
    refused: subprocess.CompletedProcess[str]
    left: list[str]
    twice: subprocess.CompletedProcess[str]
    """A resume of the session that the first one was at."""
    insisted: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def turns(make_workspace: Callable[..., Workspace], others: Workspace) -> Turns:
    workspace = make_workspace()
    with measuring(others) as first:
        refused = run(workspace)
        left = [path.name for path in workspace.capsules.iterdir()]
        (name,) = [path.name for path in others.capsules.iterdir()]
        twice = run(others, "--resume", name, "--share-device")
        insisted = run(workspace, "--share-device", "--json")
    return Turns(workspace, first.pid, name, refused, left, twice, insisted)


def test_the_second_session_on_a_device_stops_with_the_first_ones_process_id(turns: Turns) -> None:
    refused = turns.refused
    assert refused.returncode == 4
    assert refused.stdout == ""
    assert refused.stderr == (
        f"zmlx: process {turns.first} measures on this device (cpu), and two would disturb each other; "
        "wait until it has ended, or insist with --share-device\n"
    )
    assert turns.left == [], "a refused session leaves nothing behind"


def test_a_session_is_not_resumed_while_a_process_is_at_it_not_even_on_request(turns: Turns) -> None:
    assert (turns.twice.returncode, turns.twice.stdout) == (4, "")
    said = f"process {turns.first} is at session {turns.name}; wait until it has ended"
    assert turns.twice.stderr.splitlines()[-1] == f"zmlx: {said}"


def test_a_session_that_insists_runs_and_says_so_wherever_it_is_recorded(turns: Turns) -> None:
    says_that_it_shared(turns.workspace, turns.insisted)


def says_that_it_shared(workspace: Workspace, done: subprocess.CompletedProcess[str]) -> None:
    """Assert that the session measured, and that what it printed, its file, its capsule and `capsule show` say so."""
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["shared_device"] is True
    folder = workspace.session(printed["session"])
    assert store.load(workspace, printed["session"]).shared_device is True
    (capsule,) = [path for path in folder.glob("*.json") if path.name != SESSION_FILE]
    assert json.loads(capsule.read_text())["protocol"]["shared_device"] is True
    shown = subprocess.run(
        [sys.executable, "-c", COMMAND, "capsule", "show", str(capsule)],
        cwd=ROOT, env=QUIET_ENV, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "the device was shared with another session on request" in shown.stdout
    assert check_workspace(workspace).findings == ()


@pytest.mark.slow
def test_a_resume_waits_its_turn_too_or_says_that_it_shared_and_a_killed_session_frees_the_device(
    turns: Turns, others: Workspace
) -> None:
    before = set(turns.workspace.capsules.iterdir())
    with measuring(turns.workspace, "--seed", "1") as holder:
        too_early = run(others, "--resume", turns.name)
        beside = run(others, "--resume", turns.name, "--share-device", "--json")
        holder.kill()
    (killed,) = set(turns.workspace.capsules.iterdir()) - before
    freed = run(turns.workspace, "--resume", killed.name)
    assert too_early.returncode == 4
    assert f"process {holder.pid} measures on this device" in too_early.stderr
    says_that_it_shared(others, beside)
    session = store.load(others, turns.name)
    assert (session.state, session.resumed) == ("finished", 1)
    assert "--share-device" not in session.command, "it was begun alone"
    assert freed.returncode == 0, freed.stderr
    alone = store.load(turns.workspace, killed.name)
    assert (alone.state, alone.resumed, alone.shared_device) == ("finished", 1, False)


RECORD = """
import sys
from pathlib import Path
from tests.ledger.test_matrix import row
from zmlx_bench.ledger import matrix
from zmlx_bench.workspace import Workspace
place, name, count = Workspace(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for i in range(count):
    matrix.record(place, f"{name}-{i}", [row(f"{name}-{i}", part) for part in "ab"])
"""


def record_at_once(place: Workspace, writers: int, sessions: int) -> None:
    """Let `writers` processes record `sessions` sessions each, one by one, and read the matrix all the while."""
    processes = [
        subprocess.Popen([sys.executable, "-c", RECORD, str(place.root), f"w{number}", str(sessions)], cwd=ROOT)
        for number in range(writers)
    ]
    seen = [0]
    while any(process.poll() is None for process in processes):
        seen.append(len(matrix.read(place.matrix)))
        time.sleep(0.05)
    assert [process.wait() for process in processes] == [0] * writers
    assert seen == sorted(seen), "a reader never sees a row go"
    names = [row.capsule for row in matrix.read(place.matrix)]
    wanted = sorted(f"w{w}-{i}" for w in range(writers) for i in range(sessions))
    assert names == [f"capsules/{session}/{part}.json" for session in wanted for part in "ab"]


def test_processes_that_record_rows_at_once_write_all_of_them_once(tmp_path: Path) -> None:
    record_at_once(Workspace(tmp_path), 4, 16)


@pytest.mark.slow
def test_eight_processes_record_fifty_sessions_each(tmp_path: Path) -> None:
    start = time.monotonic()
    record_at_once(Workspace(tmp_path), 8, 50)
    print(f"800 rows of 400 sessions in {time.monotonic() - start:.1f} s")


def watch_while_writing(workspace: Workspace, sessions: int) -> tuple[int, int]:
    """Check and report without a pause while sessions are measured; return how often, and the rows at the end."""
    looks = 0
    for seed in range(sessions):
        process = start(workspace, "--seed", str(seed), "--share-device")
        while process.poll() is None:
            assert check_workspace(workspace).findings == ()
            report = build(workspace, None)
            assert report.refusals == ()
            looks += 1
        assert process.wait() == 0, process.communicate()[1]
        process.communicate()
    checked = check_workspace(workspace)
    assert (checked.findings, checked.sessions, checked.rows) == ((), sessions, sessions)
    return looks, checked.rows


@pytest.mark.slow
def test_a_check_and_a_report_hold_while_a_session_writes(fresh_workspace: Workspace) -> None:
    looks, _ = watch_while_writing(fresh_workspace, 1)
    assert looks > 10


@pytest.mark.slow
def test_checks_and_reports_hold_while_many_sessions_write(fresh_workspace: Workspace) -> None:
    looks, rows = watch_while_writing(fresh_workspace, 40)
    print(f"{looks} checks and reports while {rows} sessions wrote")
    assert looks > 400


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_sessions_that_end_at_once_are_all_recorded_and_hold(fresh_workspace: Workspace, count: int) -> None:
    processes = [start(fresh_workspace, "--seed", str(seed), "--share-device") for seed in range(count)]
    for process in processes:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    checked = check_workspace(fresh_workspace)
    assert (checked.findings, checked.sessions, checked.capsules, checked.rows) == ((), count, count, count)


def test_the_lock_of_a_device_is_this_users_and_outside_any_workspace() -> None:
    folder = Path(QUIET_ENV["TMPDIR"]) / f"zmlx-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} >= {"device-cpu.lock", "device-cpu.pid"}
