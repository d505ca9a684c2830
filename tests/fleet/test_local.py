"""`zmlx fleet run --local`: real sessions on this machine, by real processes, and what ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import QUIET_ENV, Zmlx
from tests.fleet.real import OPTIONS, workspace_in
from zmlx_bench.fleet import journal
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.fleet import Assigned
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process
PATIENCE_S = 120.0
ZMLX = (sys.executable, "-c", "from zmlx_bench.cli.main import main; main()")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment with a cache and device locks of its own."""
    (tmp_path / "tmp").mkdir()
    return {**QUIET_ENV, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}


def begin(workspace: Workspace, env: dict[str, str], *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ZMLX, "fleet", "run", *OPTIONS, "--sessions", "1", "--local", "--workspace", str(workspace.root), *more],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def jobs_started(tmp_path: Path) -> int:
    logs = tmp_path.glob("cache/zmlx/fleet/*/capsules/*/events.jsonl")
    return sum(path.read_bytes().count(b'"kind":"start"') for path in logs)


@pytest.mark.slow  # the cluster's heads are killed too, and the scripted ones at every step
def test_a_head_that_is_killed_and_one_that_is_stopped_lose_nothing(
    tmp_path: Path, env: dict[str, str], zmlx: Zmlx
) -> None:
    """Killed while a session runs, stopped while it goes on, then run to the end."""
    workspace = workspace_in(tmp_path / "ws")
    head = begin(workspace, env)
    wait(lambda: jobs_started(tmp_path) >= 1, head)
    children = psutil.Process(head.pid).children(recursive=True)
    head.send_signal(signal.SIGKILL)
    head.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == [], "what the head ran ends with it"
    where = ("--workspace", str(workspace.root))
    shown = zmlx("fleet", "status", *where, env=env)
    assert "no head is at it" in shown.stdout

    head = begin(workspace, env)
    wait(lambda: journal.newest(workspace).headed() and jobs_started(tmp_path) >= 2, head)
    stopped = zmlx("fleet", "stop", *where, env=env)
    assert (stopped.returncode, stopped.stderr) == (0, "the head was asked to leave\n")
    head.communicate(timeout=PATIENCE_S)

    out, err = begin(workspace, env, "--json").communicate(timeout=PATIENCE_S)
    told = json.loads(out)
    assert [one["state"] for one in told["sessions"]] == ["collected"], err
    assert told["over"]
    assert "goes on" in err
    events = list(journal.read(journal.newest(workspace).journal))
    names = [one.session for one in events if isinstance(one, Assigned)]
    assert len(set(names)) == 1 < len(names), "it went on with what it had half of"
    checked = check_workspace(workspace, processes=1)
    assert (checked.findings, checked.sessions, checked.rows) == ((), 1, 1)
    assert sorted(path.name for path in workspace.capsules.iterdir()) == sorted(set(names))
    assert list(tmp_path.glob("cache/zmlx/fleet/*/capsules/*")) == [], "the node keeps nothing"
    first = json.loads((workspace.session(names[0]) / "session.json").read_text())
    assert first["resumed"] == 2
    assert os.environ.get("HOME", "-") not in first["environment"].values()


def test_what_cannot_be_measured_is_given_up_with_its_reason(tmp_path: Path, env: dict[str, str], zmlx: Zmlx) -> None:
    """A kernel that only another backend has: the node refuses it, and there is no other node."""
    workspace = workspace_in(tmp_path / "ws")
    done = zmlx(
        "fleet", "run", "qwen3", "--local", "--variants", "qwen_fused", "--tokens", "4", "--runs", "1", "--no-null",
        "--checkpoint", "tiny", "--workspace", str(workspace.root), env=env,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "2 given up; it has ended" in done.stdout
    assert "variant.qwen_fused: " in done.stdout
    assert "session 1 was given up" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(workspace.capsules.iterdir()) == []
