"""Equal kernels on a machine whose cores are burned during some of the blocks: marked, and never found faster."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUIET_ENV, ZMLX
from tests.reliability.sessions import VARIANT, run
from zmlx_bench import files
from zmlx_bench.analysis.decision import SessionVerdict, judge_session
from zmlx_bench.ledger.evidence_reader import Reader, read_policy
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace

TOKENS, BLOCKS, SESSIONS = 24, 3, 20
EQUAL = "no_op"
"""A planted kernel that does what stock does; its call through Python makes it a trifle slower, never faster."""
PATIENCE_S = 600


@dataclass(frozen=True)
class Noisy:
    """What a session measured while its cores were burned now and then."""

    verdict: SessionVerdict
    by_speed: SessionVerdict
    """What the verdict were if the clocks had not told that something was wrong."""
    busy_by_others: float
    printed: dict[str, Any]


@contextmanager
def burners() -> Iterator[Callable[[bool], None]]:
    """Yield burn(ON): as many busy processes as there are cores, running or stopped."""
    until_alone = "import os\nby = os.getppid()\nwhile os.getppid() == by: pass"
    busy = [subprocess.Popen([sys.executable, "-c", until_alone]) for _ in range(os.cpu_count() or 1)]

    def burn(on: bool) -> None:
        for process in busy:
            process.send_signal(signal.SIGCONT if on else signal.SIGSTOP)

    burn(False)
    try:
        yield burn
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(workspace: Workspace, seed: int, burn: Callable[[bool], None]) -> Noisy:
    """Run one session; every other one has a block burned whole, the rest about a third of their processes."""
    before = set(workspace.capsules.iterdir())
    arguments = (
        "run", "qwen3", "--checkpoint", "tiny", "--tokens", str(TOKENS), "--runs", str(BLOCKS), "--variants", EQUAL,
        "--prompts", "primes", "--seed", str(seed), "--workspace", str(workspace.root), "--json",
    )  # fmt: skip
    process = subprocess.Popen(
        [*ZMLX, *arguments], env=QUIET_ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    chosen = random.Random(seed)
    burned_block = chosen.randrange(BLOCKS) + 1 if seed % 2 else None
    burned: dict[int, bool] = {}
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        assert time.monotonic() < deadline
        job = _running(workspace, before)
        if job is not None and job[0] not in burned:
            burned[job[0]] = job[1] == burned_block if burned_block else chosen.random() < 0.35
            burn(burned[job[0]])
        time.sleep(0.05)
    burn(False)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert any(burned.values())
    (folder,) = set(workspace.capsules.iterdir()) - before
    policy = read_policy(workspace)
    loaded = Reader(workspace, policy).session(folder.name)
    assert loaded is not None
    (verdict,) = judge_session(loaded.evidence, policy)
    (by_speed,) = judge_session(loaded.evidence, policy.model_copy(update={"clock_disagreement": 0.99}))
    (capsule,) = loaded.capsules.values()
    assert capsule.figures.busy_by_others is not None
    return Noisy(verdict, by_speed, capsule.figures.busy_by_others, json.loads(stdout))


def _running(workspace: Workspace, before: set[Path]) -> tuple[int, int | None] | None:
    """Return the id and the block of the process that runs now."""
    for folder in set(workspace.capsules.iterdir()) - before:
        events = folder / "events.jsonl"
        if events.exists():
            started = events.read_bytes().count(b'"kind":"start"')
            jobs = files.read_json(folder / "session.json", Session).plan.jobs
            return (jobs[started - 1].id, jobs[started - 1].block) if started else None
    return None


@pytest.fixture
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    """A workspace whose policy is content with one short budget and one prompt, so that speed alone decides."""
    made = make_workspace(EQUAL)
    path = made.variants / "policy.toml"
    text = path.read_text().partition("[min_blocks]")[0].replace("min_prompts = 3", "min_prompts = 1")
    path.write_text(f"{text}[min_blocks]\n{TOKENS} = {BLOCKS}\n")
    return made


@pytest.mark.slow
def test_a_session_beside_busy_processes_is_marked(fresh_workspace: Workspace) -> None:
    with burners() as burn:
        burn(True)
        done = run(fresh_workspace, "--json", env={"STANDIN_TOKEN_S": "0.05"})
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["cpu_busy_by_others"] > 0.8
    (capsule,) = fresh_workspace.session(printed["session"]).glob(f"*_{VARIANT}.json")
    shown = subprocess.run(
        [*ZMLX, "capsule", "show", str(capsule)], env=QUIET_ENV, capture_output=True, text=True, check=True
    )
    assert f"other processes kept up to {printed['cpu_busy_by_others']:.1f} cores busy" in shown.stdout


@pytest.mark.slow
def test_equal_kernels_are_never_found_faster_on_a_noisy_machine(workspace: Workspace) -> None:
    with burners() as burn:
        found = [measure(workspace, seed, burn) for seed in range(SESSIONS)]
    for one in found:
        figures = one.verdict.budgets[0]
        print(
            f"{one.verdict.verdict} {one.verdict.reason}, by speed {one.by_speed.verdict} {one.by_speed.reason}: "
            f"{figures.speedup:.3f}x [{figures.low:.3f}, {figures.high:.3f}], null {figures.null_speedup:.3f}x, "
            f"others {one.busy_by_others:.2f} cores"
        )
        assert "CANDIDATE" not in (one.verdict.verdict, one.by_speed.verdict)
        assert one.busy_by_others > 0.4, "two burners take about one of two cores from the worker's share"
        assert one.printed["cpu_busy_by_others"] == one.busy_by_others
    wrong = [one for one in found if one.by_speed.verdict not in ("INCONCLUSIVE", "HOLD")]
    assert len(wrong) <= 2, "a rule that errs at 2% calls at most 2 of 20 equal sessions slower (chance of more: 0.7%)"
