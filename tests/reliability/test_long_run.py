"""Two hundred blocks in a row: the supervisor's memory, files and processes stay as they were."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.conftest import QUIET_ENV
from tests.reliability.faulty import COMMAND
from zmlx_bench.ledger import matrix
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
FLAT_MB = 20


@dataclass
class Watched:
    """What was seen of a supervisor between its tenth job and its last."""

    rss_mb: list[float] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    processes: set[int] = field(default_factory=set)
    peak_recording_mb: float = 0.0
    """Largest resident memory of the whole command, from its first moment to the capsules."""
    took_s: float = 0.0


def watch(workspace: Workspace, blocks: int, tokens: int) -> Watched:
    """Run a session of so many blocks, three arms each, and look at the supervisor now and then."""
    process = subprocess.Popen(
        [
            sys.executable, "-c", COMMAND, "run", "qwen3", "--checkpoint", "tiny", "--tokens", str(tokens), "--runs",
            str(blocks), "--prompts", "primes", "--variants", "qwen_qkv_joined", "--share-device", "--workspace",
            str(workspace.root),
        ],
        cwd=ROOT, env=QUIET_ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    began = time.monotonic()
    supervisor, seen, whole = psutil.Process(process.pid), Watched(), 1 + 3 * blocks
    status = Path(f"/proc/{process.pid}/status")
    jobs = 0
    while process.poll() is None:
        logs = [len(list(folder.iterdir())) for folder in workspace.capsules.glob("*/logs")]
        jobs = logs[0] if logs else 0
        try:
            if status.exists():
                peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM: 0")
                seen.peak_recording_mb = max(seen.peak_recording_mb, int(peak.split()[1]) / 1024)
            if 10 <= jobs < whole:
                seen.rss_mb.append(supervisor.memory_info().rss / 2**20)
                seen.handles.append(supervisor.num_fds())
                seen.processes.add(len(supervisor.children(recursive=True)))
        except (psutil.Error, OSError):
            break
        time.sleep(0.05)
    assert process.wait() == 0, process.communicate()[1]
    process.communicate()
    seen.took_s = time.monotonic() - began
    (folder,) = workspace.capsules.iterdir()
    session = store.load(workspace, folder.name)
    assert len(session.plan.jobs) == whole, "the baseline's margins, the blocks"
    (row,) = matrix.read(workspace.matrix)
    assert (row.blocks, row.status) == (blocks, "ok")
    return seen


def flat(seen: Watched) -> None:
    """Assert that nothing grows: memory within 20 MB, no handle that stays, one worker at most at any moment."""
    assert len(seen.rss_mb) > 10
    assert max(seen.rss_mb) - seen.rss_mb[0] < FLAT_MB
    # A worker takes two, its start eight for a moment; in a half no look may have fallen between two workers.
    half = len(seen.handles) // 2
    assert min(seen.handles[half:]) <= min(seen.handles[:half]) + 2, "what a job opened is closed"
    assert max(seen.handles) - min(seen.handles) <= 16
    assert max(seen.processes) <= 2, "the worker, and what reads the state of the machine"


@pytest.mark.slow
def test_a_dozen_blocks_leave_the_supervisor_as_it_was(fresh_workspace: Workspace) -> None:
    flat(watch(fresh_workspace, 12, 20))


@pytest.mark.slow
def test_two_hundred_blocks_leave_the_supervisor_as_it_was(fresh_workspace: Workspace) -> None:
    seen = watch(fresh_workspace, 200, 200)
    print(
        f"memory {seen.rss_mb[0]:.1f} MB at first, {min(seen.rss_mb):.1f} to {max(seen.rss_mb):.1f} in "
        f"{len(seen.rss_mb)} looks, peak with the recording {seen.peak_recording_mb:.1f} MB; handles "
        f"{min(seen.handles)} to {max(seen.handles)}; processes {max(seen.processes)} at most; {seen.took_s:.0f} s"
    )
    flat(seen)
    assert seen.peak_recording_mb - max(seen.rss_mb) < 150, "200 blocks of 3 x 200 tokens are recorded job by job"
