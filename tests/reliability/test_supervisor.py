"""The supervisor killed at any moment, interrupted, and resumed where something changed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.busy import stretch
from tests.conftest import QUIET_ENV
from tests.reliability.faulty import COMMAND
from tests.reliability.test_processes import declare
from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.session import Session
from zmlx_bench.session import api, store
from zmlx_bench.workspace import SESSION_FILE, Workspace

ROOT = Path(__file__).resolve().parents[2]
VARIANT = "qwen_qkv_joined"
RUN = (
    "run", "qwen3", "--checkpoint", "tiny", "--tokens", "3", "--tokens", "5", "--runs", "2", "--seed", "7",
    "--prompts", "tcp_udp,primes", "--variants", VARIANT, "--timeout", "60", "--share-device",
)  # fmt: skip
KILL_AT = """
import os, sys, tempfile
from zmlx_bench.ledger import capsules, matrix
from zmlx_bench.session import api, store

def die_at(module, name, call, after):
    real, calls = getattr(module, name), [0]
    def dying(*arguments, **named):
        calls[0] += 1
        if calls[0] == call and not after:
            os.kill(os.getpid(), 9)
        result = real(*arguments, **named)
        if calls[0] == call:
            os.kill(os.getpid(), 9)
        return result
    setattr(module, name, dying)

modules = {{"capsules": capsules, "matrix": matrix, "store": store, "tempfile": tempfile}}
die_at(modules[{module!r}], {name!r}, {call}, {after})
"""


def start(workspace: Workspace, *more: str, first: str = "", **env: str) -> subprocess.Popen[str]:
    """Start `zmlx run` with scripted workers, after the Python `first`."""
    return subprocess.Popen(
        [sys.executable, "-c", first + COMMAND, *RUN, "--workspace", str(workspace.root), *more],
        cwd=ROOT, env={**QUIET_ENV, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=120)
    return process.returncode


def events_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / store.EVENTS_FILE).read_text().splitlines()]


@dataclass
class Undisturbed:
    session: Session
    log_bytes: int
    files: list[str]


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace()


@pytest.fixture(scope="module")
def undisturbed(place: Workspace) -> Undisturbed:
    process = start(place)
    assert end(process) == 0
    (folder,) = place.capsules.iterdir()
    size = (folder / store.EVENTS_FILE).stat().st_size
    return Undisturbed(store.load(place, folder.name), size, names_in(folder))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def killed(place: Workspace, at_bytes: float, wait_s: float) -> Path:
    """Kill a new session's supervisor `wait_s` after its log has grown to `at_bytes`; return the session's folder.

    What it has done, not the clock, sets the moment: the machine is not always equally fast.
    """
    before = set(place.capsules.iterdir())
    process = start(place)
    while process.poll() is None:
        new = [path.parent for path in place.capsules.glob("*/session.json") if path.parent not in before]
        log = new[0] / store.EVENTS_FILE if new else None
        if new and (at_bytes <= 0 or (log is not None and log.exists() and log.stat().st_size >= at_bytes)):
            break
        time.sleep(0.002)
    time.sleep(wait_s)
    process.kill()
    end(process)
    (folder,) = set(place.capsules.iterdir()) - before
    return folder


def resumed_is_whole(place: Workspace, folder: Path, undisturbed: Undisturbed) -> None:
    """Resume a session, and assert that it ends as an undisturbed one."""
    process = start(place, "--resume", folder.name)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    session = store.load(place, folder.name)
    assert session.state == "finished"
    assert session.plan == undisturbed.session.plan
    ended = [event["job"] for event in events_of(folder) if event["kind"] == "end"]
    assert ended == [job.id for job in session.plan.jobs], "each job once, in the order of the plan"
    assert names_in(folder) == undisturbed.files, "and no file but an undisturbed session's"
    rows = [row.capsule for row in matrix.read(place.matrix) if row.session == folder.name]
    assert sorted(rows) == sorted(f"capsules/{folder.name}/{reference.file}" for reference in session.capsules)
    for reference in session.capsules:
        raw = json.loads((folder / reference.file).read_text())
        for role in ("baseline", "null", "variant"):
            assert [run["block"] for run in raw["runs"][role]] == [1, 2]


def kill_at_random(place: Workspace, undisturbed: Undisturbed, moments: int, seed: int) -> list[int]:
    """Kill and resume as many sessions; return how many jobs had ended at each kill."""
    chosen = random.Random(seed)
    had: list[int] = []
    for _ in range(moments):
        folder = killed(place, chosen.uniform(-0.02, 1) * undisturbed.log_bytes, chosen.uniform(0, 0.03))
        log = folder / store.EVENTS_FILE
        had.append(log.read_bytes().count(b'"kind":"end"') if log.exists() else 0)
        resumed_is_whole(place, folder, undisturbed)
    assert check_workspace(place).findings == ()
    return had


def test_a_session_killed_at_a_random_moment_ends_as_an_undisturbed_one(
    place: Workspace, undisturbed: Undisturbed
) -> None:
    assert len(kill_at_random(place, undisturbed, 1, seed=7)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_fifty_random_kills_lose_and_repeat_nothing(place: Workspace, undisturbed: Undisturbed, seed: int) -> None:
    had = kill_at_random(place, undisturbed, 10, seed)
    print(f"jobs ended at the kill, of {len(undisturbed.session.plan.jobs)}: {sorted(had)}")
    assert len(set(had)) > 2, "the moments lie all over the session"


MOMENTS = {
    "before the second capsule": ("capsules", "write", 2, False),
    "while the second capsule is written": ("tempfile", "mkstemp", 3, True),
    "after the last capsule": ("capsules", "write", 2, True),
    "before the rows": ("matrix", "record", 1, False),
    "between the rows and the matrix": ("matrix", "write", 1, False),
    "after the rows": ("matrix", "record", 1, True),
    "before the session is closed": ("store", "write", 2, False),
    "after the session is closed": ("store", "write", 2, True),
}


def killed_while_recording(place: Workspace, undisturbed: Undisturbed, moment: str) -> None:
    """Kill a supervisor at a moment of its last steps, and assert that the resumed session is whole."""
    module, name, call, after = MOMENTS[moment]
    before = set(place.capsules.iterdir())
    process = start(place, first=KILL_AT.format(module=module, name=name, call=call, after=after))
    assert end(process) == -signal.SIGKILL
    (folder,) = set(place.capsules.iterdir()) - before
    resumed_is_whole(place, folder, undisturbed)


@pytest.mark.slow
def test_a_file_that_a_killed_session_was_writing_is_removed(place: Workspace, undisturbed: Undisturbed) -> None:
    killed_while_recording(place, undisturbed, "while the second capsule is written")


@pytest.mark.slow
def test_rows_stand_once_when_the_kill_falls_between_rows_and_session(
    place: Workspace, undisturbed: Undisturbed
) -> None:
    killed_while_recording(place, undisturbed, "after the rows")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_while_recording_loses_and_repeats_nothing(
    place: Workspace, undisturbed: Undisturbed, moment: str
) -> None:
    killed_while_recording(place, undisturbed, moment)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_ends_even_a_worker_that_ignores_it_within_two_seconds(
    fresh_workspace: Workspace, number: signal.Signals, code: int
) -> None:
    declare(fresh_workspace, ("decode_stubborn",))
    process = start(fresh_workspace, "--variants", "decode_stubborn", STANDIN_TOKEN_S="0.01")
    logs = fresh_workspace.capsules
    while not any(b"last words" in path.read_bytes() for path in logs.glob("*/logs/*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    began = time.monotonic()
    process.send_signal(number)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert time.monotonic() - began < 2.0 * stretch()
    assert alive == []
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    (folder,) = logs.iterdir()
    assert f"--resume {folder.name}" in stderr
    assert store.load(fresh_workspace, folder.name).state == "running"


@pytest.fixture(scope="module")
def stopped(make_workspace: Callable[..., Workspace]) -> tuple[Workspace, str]:
    """A session that stopped with its jobs done and nothing recorded."""
    workspace = make_workspace()
    process = start(workspace, first=KILL_AT.format(module="capsules", name="write", call=1, after=False))
    assert end(process) == -signal.SIGKILL
    (folder,) = workspace.capsules.iterdir()
    return workspace, folder.name


def changed(session: Session, *path: str, value: Any) -> Session:
    raw = session.model_dump(mode="json")
    part = raw
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return Session.model_validate(raw)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("software", "mlx"), "0.1.0", "mlx was 0.1.0 and is "),
        (("software", "mlx_lm"), "0.2.0", "mlx_lm was 0.2.0 and is "),
        (("software", "zmlx"), "0.0.1", "zmlx was 0.0.1 and is "),
        (("software", "python"), "3.0.0", "python was 3.0.0 and is "),
        (("software", "commit"), "0" * 40, f"commit was {'0' * 40} and is "),
        (("machine", "device"), "another machine", "machine.device was another machine and is "),
        (("machine", "cpu_count"), 4096, "machine.cpu_count was 4096 and is "),
        (("machine", "memory_gb"), 1.5, "machine.memory_gb was 1.5 and is "),
        (("plan", "encoded"), None, "it was planned before prompts were made token ids"),
        (("plan", "checkpoint", "digest"), "f" * 64, f"checkpoint was {'f' * 64} and is "),
    ],
)
def test_a_session_from_other_code_weights_or_machine_is_refused_with_the_difference(
    stopped: tuple[Workspace, str], path: tuple[str, ...], value: Any, says: str
) -> None:
    workspace, name = stopped
    file = workspace.session(name) / SESSION_FILE
    kept = file.read_bytes()
    try:
        written = store.write(workspace, changed(files.read_json(file, Session), *path, value=value))
        with pytest.raises(UnusableInput) as refused:
            api.reopen(workspace, name, share_device=True)
        assert f"session {name} cannot be resumed: " in str(refused.value)
        assert says in str(refused.value)
        assert str(refused.value).endswith("; start a new one")
        assert store.load(workspace, name) == written, "a refused session stays as it was"
        assert refused.value.exit_code == 3
    finally:
        file.write_bytes(kept)


def test_a_log_with_a_job_that_was_not_planned_is_refused(stopped: tuple[Workspace, str]) -> None:
    workspace, name = stopped
    log = workspace.session(name) / store.EVENTS_FILE
    kept = log.read_bytes()
    try:
        start_and_end = [line for line in kept.splitlines(keepends=True)[:40] if b'"kind":"event"' not in line][:2]
        log.write_bytes(kept + b"".join(line.replace(b'"job":0', b'"job":9999') for line in start_and_end))
        process = start(workspace, "--resume", name)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 3, stderr
        assert "events.jsonl: job 9999 is not in the session's plan" in stderr
        assert "Traceback" not in stderr
    finally:
        log.write_bytes(kept)
