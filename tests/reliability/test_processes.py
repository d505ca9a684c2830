"""Workers that die, hang, print, fork or run out of memory at each phase: told apart, and the session goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import QUIET_ENV, Zmlx
from tests.reliability.faulty import COMMAND, FORKED, LEFT_FREE, SIGNALS
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.process import Child
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.session import store
from zmlx_bench.session.unfinished import unfinished
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
PHASES = ("load", "prefill", "decode")
SILENCE_S = 4
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")

FAULTS = {
    **{f"{phase}_{name}": ("crash", f"killed by {name.upper()}") for phase in PHASES for name in SIGNALS},
    "decode_hangs": ("timeout", f"silent for {SILENCE_S} s while decoding"),
    "prefill_closes": ("timeout", "closed its pipe and did not exit"),
    "decode_garbage": ("crash", "sent something that is no event"),
    "decode_endless": ("crash", "printed more than 64 MiB while decoding"),
    "decode_forks": ("crash", "exited with code 5 before it was done"),
    "load_imports": ("crash", "exited with code 1 before it was done"),
    "decode_space": ("oom", "exited with code 1 before it was done"),
    "load_retokenises": ("crash", "broke the protocol: would prefill other token ids than the session's as primes"),
    "decode_megabytes": ("ok", ""),
    "decode_children": ("ok", ""),
}  # fmt: skip
"""Variant -> what its capsule must say."""
HANGS = {
    "load_hangs": ("timeout", f"silent for {SILENCE_S} s while loading"),
    "prefill_hangs": ("timeout", f"silent for {SILENCE_S} s while prefilling primes"),
    "decode_stubborn": ("timeout", f"silent for {SILENCE_S} s while decoding"),
}
"""The same for those that take longer; their like with a worker alone stand in tests/session/test_supervise.py."""


def declare(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Add variants of these names; which kernel they have is nothing to the scripted worker."""
    with (workspace.variants / "qwen3.toml").open("a") as file:
        for name in names:
            file.write(f'\n[variant.{name}]\nwhy = "a fault"\nkernels = {{ qkv = "qkv_joined" }}\n')


def run(workspace: Workspace, names: tuple[str, ...], **env: str) -> subprocess.CompletedProcess[str]:
    arguments = (
        "run", "qwen3", "--checkpoint", "tiny", "--tokens", "4", "--runs", "1", "--no-null", "--prompts", "primes",
        "--timeout", str(SILENCE_S), "--variants", ",".join(names), "--workspace", str(workspace.root),
        "--share-device",
    )  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=ROOT, env={**QUIET_ENV, **env}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@dataclass
class Faults:
    """A session of one arm for every fault."""

    workspace: Workspace
    done: subprocess.CompletedProcess[str]
    folder: Path
    forked: list[int]

    def capsule(self, name: str) -> Capsule:
        (path,) = self.folder.glob(f"*_r1_{name}.json")
        return capsule_files.read(path)


def measured(workspace: Workspace, names: tuple[str, ...], pids: Path) -> Faults:
    """Run a session of one arm for each fault."""
    declare(workspace, names)
    done = run(workspace, names, FAULTY_PIDS=str(pids))
    assert done.returncode == 0, done.stderr
    (folder,) = workspace.capsules.iterdir()
    return Faults(workspace, done, folder, [int(line) for line in pids.read_text().split()] if pids.exists() else [])


@pytest.fixture(scope="module")
def faults(make_workspace: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return measured(make_workspace(), tuple(FAULTS), tmp_path_factory.mktemp("faults") / "pids")


@pytest.mark.slow
def test_a_worker_that_hangs_at_any_phase_is_told(fresh_workspace: Workspace, tmp_path: Path) -> None:
    hung = measured(fresh_workspace, tuple(HANGS), tmp_path / "pids")
    for name, (status, says) in HANGS.items():
        tells(hung, name, status, says)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_told_and_what_it_wrote_last_is_kept(faults: Faults, name: str) -> None:
    tells(faults, name, *FAULTS[name])


def tells(faults: Faults, name: str, status: str, says: str) -> None:
    """Assert what the capsule of a faulty arm says."""
    capsule = faults.capsule(name)
    (timed,) = capsule.runs.variant
    assert capsule.status == timed.status == status
    if status != "ok":
        message = timed.message or ""
        assert message.splitlines()[0].startswith(says)
        words = "x" * 100 if name == "decode_endless" else f"the last words while in {name.partition('_')[0]}"
        assert words in message
        assert len(message) < 3000
        assert f"{name}: {status}" in faults.done.stderr


def test_all_arms_are_measured_and_every_row_is_there(faults: Faults) -> None:
    rows = {row.variant: row.status for row in matrix.read(faults.workspace.matrix)}
    assert rows == {name: status for name, (status, _) in FAULTS.items()}
    assert store.load(faults.workspace, faults.folder.name).state == "finished"
    assert check_workspace(faults.workspace).findings == ()


def test_no_process_is_left_not_even_what_a_worker_forked(faults: Faults) -> None:
    assert len(faults.forked) == 2
    deadline = time.monotonic() + 5
    while alive := [pid for pid in faults.forked if _alive(pid)]:
        assert time.monotonic() < deadline, f"{alive} outlived their worker"
        time.sleep(0.05)
    assert [
        p.pid for p in psutil.process_iter() if "tests.reliability.faulty" in _command(p) and not _elsewhere(p)
    ] == []


def _alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _elsewhere(process: psutil.Process) -> bool:
    """Tell whether a test that runs at the same time elsewhere started it."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get("TMPDIR") != QUIET_ENV["TMPDIR"]
    return True


def test_megabytes_of_output_stay_in_the_log_and_cost_nothing_else(faults: Faults) -> None:
    logs = sorted((faults.folder / "logs").iterdir())
    assert max(path.stat().st_size for path in logs) > 64 << 20
    assert (faults.folder / store.EVENTS_FILE).stat().st_size < 1 << 20


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group that may hold little memory."""
    group = MEMORY_GROUPS / f"zmlx-tests-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LEFT_FREE))
    except OSError:
        pytest.skip("no memory control group can be made here")
    yield group
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.05)


def test_a_worker_that_the_system_kills_for_memory_is_out_of_memory(
    fresh_workspace: Workspace, memory_group: Path
) -> None:
    declare(fresh_workspace, ("decode_group", "decode_sigkill"))
    done = run(fresh_workspace, ("decode_group", "decode_sigkill"), FAULTY_GROUP=str(memory_group))
    assert done.returncode == 0, done.stderr
    assert "decode_group: oom: killed by the system" in done.stdout
    rows = {row.variant: row.status for row in matrix.read(fresh_workspace.matrix)}
    assert rows == {"decode_group": "oom", "decode_sigkill": "crash"}


def test_a_stock_model_that_cannot_run_stops_the_session(fresh_workspace: Workspace, zmlx_inside: Zmlx) -> None:
    command = COMMAND.replace("tests.reliability.faulty", "a_module_that_is_not_there")
    done = subprocess.run(
        [sys.executable, "-c", command, "run", "qwen3", "--checkpoint", "tiny", "--tokens", "4", "--runs", "1",
         "--workspace", str(fresh_workspace.root), "--variants", "qwen_qkv_joined", "--share-device"],
        cwd=ROOT, env=QUIET_ENV, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 4
    why = "the stock model does not run here (crash): exited with code 1 before it was done; it printed last: "
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("zmlx: ")]
    assert line.startswith(f"zmlx: {why}")
    assert "No module named a_module_that_is_not_there; all of it is in capsules/" in line
    assert (fresh_workspace.root / line.rpartition(" ")[2]).is_file()
    assert "Traceback" not in done.stderr
    (log,) = fresh_workspace.capsules.glob("*/logs/*.log")
    assert "No module named" in log.read_text()
    assert "--resume" not in done.stderr, "it would fail again"
    [only] = unfinished(fresh_workspace)
    assert only.failure == line.removeprefix("zmlx: ")

    def says(*arguments: str) -> subprocess.CompletedProcess[str]:
        return zmlx_inside(*arguments, cwd=fresh_workspace.root)

    resumed = says("run", "qwen3", "--resume", only.session)
    assert resumed.returncode == 3
    assert f"session {only.session} cannot be resumed, for it failed: {why}" in resumed.stderr
    # As an earlier zmlx left it.
    failed = store.load(fresh_workspace, only.session)
    store.write(fresh_workspace, failed.model_copy(update={"state": "running", "failure": None}))
    again = says("run", "qwen3", "--resume", only.session, "--share-device")
    assert again.returncode == 4
    assert line in again.stderr
    assert [each.failure for each in unfinished(fresh_workspace)] == [only.failure]
    listed = says("sessions")
    assert "--resume" not in listed.stdout
    assert f"zmlx sessions drop {only.session}" in " ".join(listed.stdout.split())
    assert says("check").returncode == 0
    assert says("sessions", "drop", only.session).returncode == 0
    assert list(unfinished(fresh_workspace)) == []
    assert not fresh_workspace.matrix.exists() or matrix.read(fresh_workspace.matrix) == []


# macOS's poll waits for what was asked alone, and no event comes to the writing end of a pipe.
MACOS_POLL = """
import os, select, stat, time
System = select.poll
class Poll:
    def __init__(self): self.watched, self.system = {}, System()
    def register(self, fd, events): self.watched[fd] = events; self.system.register(fd, events)
    def poll(self):
        while not (found := [(fd, e) for fd, e in self.system.poll()
                             if self.watched[fd] and not stat.S_ISFIFO(os.fstat(fd).st_mode)]):
            time.sleep(0.05)
        return found
select.poll = Poll
"""
ORPHANED = f"""
import subprocess, sys, time
from zmlx_bench.measured.worker.pipe import Pipe
child = subprocess.Popen([sys.executable, "-c", {FORKED!r}])
print(child.pid, flush=True)
Pipe(int(sys.argv[1])).leave_with_reader()
time.sleep(3600)
"""


@pytest.mark.parametrize("platform", ["", MACOS_POLL], ids=["here", "macOS's poll"])
def test_a_killed_supervisors_worker_takes_with_it_what_it_forked(platform: str, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    with printed.open("wb") as output:
        worker = Child([sys.executable, "-c", platform + ORPHANED], b"", output, {**QUIET_ENV, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 10
    while not printed.read_bytes().endswith(b"\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int(printed.read_text())
    worker.close()  # as the system does when the supervisor dies
    assert worker.process.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while _alive(child):
        assert time.monotonic() < deadline, "the forked child outlived its worker"
        time.sleep(0.05)
