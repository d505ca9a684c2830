"""A session stopped in every way and taken up again ends as an undisturbed one with the same seed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.busy import stretch
from tests.conftest import QUIET_ENV, ZMLX
from tests.session.conftest import ARGUMENTS, MEASURED, Finished, finished
from zmlx_bench.schema.run import Run
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

PATIENCE_S = 120


@dataclass
class Stopped:
    """How a run of the command was stopped, and what was left."""

    code: int
    took_s: float
    """Of a machine with processors to spare."""
    stderr: str
    children_alive: list[int]


def _started_jobs(events: Path) -> int:
    return events.read_bytes().count(b'"kind":"start"') if events.exists() else 0


def _wait(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _stop(
    workspace: Workspace, more: tuple[str, ...], jobs: int, how: Callable[[psutil.Process, Path], None]
) -> Stopped:
    """Run until `jobs` more processes have started and the last one reports, then stop the supervisor."""
    process = subprocess.Popen(
        [*ZMLX, *ARGUMENTS, "--workspace", str(workspace.root), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET_ENV, start_new_session=True,
    )  # fmt: skip
    _wait(lambda: bool(list(workspace.capsules.glob("*/session.json"))), process)
    (folder,) = workspace.capsules.iterdir()
    events = folder / store.EVENTS_FILE
    before = _started_jobs(events)
    _wait(lambda: _started_jobs(events) >= before + jobs, process)
    last = events.read_bytes().rfind(b'"kind":"start"')
    _wait(lambda: b'"event":"loaded"' in events.read_bytes()[last:], process)
    supervisor = psutil.Process(process.pid)
    children = supervisor.children(recursive=True)
    start = time.monotonic()
    how(supervisor, events)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    took = (time.monotonic() - start) / stretch()
    alive = [child.pid for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    if process.returncode == -signal.SIGKILL:
        psutil.wait_procs(children, timeout=5)
        alive = [child.pid for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    return Stopped(process.returncode, took, stderr, alive)


def _signal_group(number: int) -> Callable[[psutil.Process, Path], None]:
    return lambda process, _: os.killpg(process.pid, number)


def _fill_the_disk(process: psutil.Process, events: Path) -> None:
    limit = events.stat().st_size + 300
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))


@dataclass
class Chain:
    stops: dict[str, Stopped]
    begun: Workspace
    """As the first stop left it."""
    end: Finished


@pytest.fixture(scope="module")
def chain(
    make_workspace: Callable[..., Workspace],
    zmlx: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    small: str,
) -> Chain:
    """One session, stopped four times in four ways, each time taken up again."""
    workspace = make_workspace()
    stops = {"interrupt": _stop(workspace, ("--checkpoint", small), 2, _signal_group(signal.SIGINT))}
    (folder,) = workspace.capsules.iterdir()
    begun = Workspace(shutil.copytree(workspace.root, tmp_path_factory.mktemp("begun") / "ws"))
    again = ("--resume", folder.name)
    stops["terminate"] = _stop(workspace, again, 1, lambda process, _: process.terminate())
    stops["full disk"] = _stop(workspace, again, 1, _fill_the_disk)
    stops["kill"] = _stop(workspace, again, 2, lambda process, _: process.kill())
    done = zmlx("run", "qwen3", "--resume", folder.name, "--workspace", str(workspace.root), "--json")
    return Chain(stops, begun, finished(workspace, done))


@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("interrupt", 130, "zmlx: interrupted"),
        ("terminate", 143, "zmlx: terminated"),
        ("full disk", 4, "events.jsonl: cannot be written: File too large"),
        ("kill", -9, ""),
    ],
)
def test_each_way_has_its_exit_code_and_leaves_no_process(chain: Chain, how: str, code: int, says: str) -> None:
    stopped = chain.stops[how]
    assert stopped.code == code
    assert says in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert stopped.children_alive == []


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_a_signal_ends_the_command_and_its_children_within_two_seconds(chain: Chain, how: str) -> None:
    assert chain.stops[how].took_s < 2.0


@pytest.mark.parametrize("how", ["interrupt", "terminate", "full disk"])
def test_how_to_go_on_is_said(chain: Chain, how: str) -> None:
    name = chain.end.session.session
    assert f"to finish this session:\n  zmlx run qwen3 --resume {name}" in chain.stops[how].stderr


def test_it_says_how_often_it_was_taken_up(chain: Chain) -> None:
    assert chain.end.session.resumed == 4
    assert json.loads(chain.end.done.stdout)["session"] == chain.end.session.session


def test_the_plan_is_the_undisturbed_ones(chain: Chain, undisturbed: Finished) -> None:
    assert chain.end.session.plan == undisturbed.session.plan


TIMES = {
    "load_s", "warm_up_s", "peak_rss_gb", "page_faults_minor", "page_faults_major", "before", "after",
    "ttft_s", "decode_s", "supervisor_decode_s", "token_us",
}  # fmt: skip
# MLX's cache and peak depend on when buffers come back, to a page or so.
ALLOCATOR = {"peak_mem_gb", "cache_gb"}


def _untimed(run: Run) -> dict[str, Any]:
    raw = {key: value for key, value in run.model_dump(mode="json").items() if key not in TIMES}
    drop = TIMES | ALLOCATOR
    raw["generations"] = [{k: v for k, v in g.items() if k not in drop} for g in raw["generations"]]
    return raw


def test_everything_but_times_is_the_undisturbed_ones(chain: Chain, undisturbed: Finished) -> None:
    mine, theirs = chain.end.capsule(MEASURED), undisturbed.capsule(MEASURED)
    assert mine.protocol.order == theirs.protocol.order
    assert mine.outputs == theirs.outputs
    assert mine.figures.fidelity == theirs.figures.fidelity
    for runs in ("runs", "fidelity_runs"):
        for role in ("baseline", "null", "incumbent", "variant"):
            ours = [_untimed(run) for run in getattr(getattr(mine, runs), role)]
            assert ours == [_untimed(run) for run in getattr(getattr(theirs, runs), role)]


def test_no_job_that_had_ended_was_run_again(chain: Chain) -> None:
    ended = [event["job"] for event in chain.end.events() if event["kind"] == "end"]
    assert ended == [job.id for job in chain.end.session.plan.jobs]
    started = [event["job"] for event in chain.end.events() if event["kind"] == "start"]
    assert len(started) == len(ended) + 4, "each of four stops voided one attempt"


def test_a_session_whose_kernel_changed_is_not_resumed(chain: Chain, zmlx_inside: Callable[..., Any]) -> None:
    workspace = chain.begun
    (folder,) = workspace.capsules.iterdir()
    with (workspace.kernels / "qkv_joined" / "kernel.py").open("a") as file:
        file.write("CHANGED = True\n")
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    done = zmlx_inside("run", "qwen3", "--resume", folder.name, "--workspace", str(workspace.root))
    assert done.returncode == 3
    assert f"variant {MEASURED}, its kernels or the measured path changed; start a new one" in done.stderr
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before
