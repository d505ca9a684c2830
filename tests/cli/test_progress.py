"""What a running session shows: place, speed, time left, and ratios that are the paired ones of what has ended."""

from __future__ import annotations

import io
import itertools
import math

import pytest
from rich.console import Console

from zmlx_bench.analysis.running import Running
from zmlx_bench.catalog import prompts
from zmlx_bench.cli import remaining
from zmlx_bench.cli.progress import Progress
from zmlx_bench.protocol.plan import draw_up
from zmlx_bench.schema.event import PromptStart, Token
from zmlx_bench.schema.plan import Arm, Checkpoint, Conditions, Job, Plan, Timeouts
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session.supervise import Outcome

SPEED = {"baseline": 50.0, "null": 50.0, "quick": 100.0, "broken": 1.0}


@pytest.fixture(scope="module")
def plan() -> Plan:
    variants = [
        ResolvedVariant(name=name, family="qwen3", why="x", kernels=(), env={"ZMLX_X": "1"})
        for name in ("quick", "broken")
    ]
    return draw_up(
        family="qwen3",
        checkpoint=Checkpoint(
            kind="tiny", label="tiny", digest="tiny-0123456789abcdef", source="x", config_sha256="0" * 64
        ),
        conditions=Conditions(),
        backend="cpu",
        tokens=(17, 33),
        blocks=3,
        seed=0,
        cooldown_s=0.0,
        timeouts=Timeouts(),
        prompts=prompts.load("primes"),
        arms=(
            Arm(name="baseline", role="baseline"),
            Arm(name="null", role="null"),
            *(Arm(name=variant.name, role="variant", variant=variant) for variant in variants),
        ),
        audit_positions=None,
    )


def came_s(arm: str, index: int) -> float:
    """Return when a token comes: `quick` is three times as fast as the baseline up to the 17th, twice to the last."""
    if arm != "quick":
        return index / SPEED[arm]
    return index / 150.0 if index < 17 else 16 / 150.0 + (index - 16) / 75.0


def go(progress: Progress, job: Job, ticks: list[float]) -> None:
    progress.job_started(job)
    ticks[0] += 2.0
    progress.event(job, 0.0, PromptStart(prompt="primes", prompt_tokens=3, t_ns=0, active_before_gb=0.0))
    for index in range(job.tokens):
        progress.event(job, 0.0, Token(id=1, t_ns=round(came_s(job.arm, index) * 1e9)))
    ticks[0] += job.tokens / SPEED[job.arm]
    ok = job.arm != "broken"
    progress.job_ended(job, Outcome("ok" if ok else "crash", None if ok else "went wrong\nmore", 0, None))


def shown(progress: Progress, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(progress.view())
    return captured.get()


@pytest.mark.parametrize("width", [80, 60])
def test_the_view_at_every_width(plan: Plan, width: int) -> None:
    said = io.StringIO()
    ticks = [0.0]
    progress = Progress(plan, Console(file=said, width=width), clock=lambda: ticks[0])
    assert "time left not known yet" in shown(progress, width)
    for job in itertools.takewhile(lambda job: job.block != 3, plan.jobs):
        if job.arm != "broken" or "broken" not in said.getvalue():
            go(progress, job, ticks)
    text = shown(progress, width)
    assert max(map(len, text.splitlines())) <= width
    assert "block 2/3, 17 and 33 tokens" in text
    assert "17: 3.000x [3.000, 3.000]" in text, "its first tokens came faster than its last"
    assert "33: 2.000x [2.000, 2.000]" in text
    assert f"8 of {len(plan.jobs)} processes" in text
    assert said.getvalue() == "broken: crash: went wrong; it printed last: more\n"
    left = [job for job in plan.jobs[8:] if job.arm != "broken"]
    expected = sum(2.0 + job.tokens * len(job.prompts) / SPEED[job.arm] for job in left)
    assert remaining.words(expected) in text


def test_a_pipe_gets_no_drawing(plan: Plan) -> None:
    said = io.StringIO()
    with Progress(plan, Console(file=said)) as progress:
        go(progress, plan.jobs[0], [0.0])
    assert said.getvalue() == ""


def test_a_ratio_needs_every_stock_arm_of_the_block(plan: Plan) -> None:
    running = Running(plan)
    running.add(17, "quick", 1, 110.0)
    running.add(17, "baseline", 1, 100.0)
    assert running.ratio(17, "quick") is None
    running.add(17, "null", 1, 121.0)
    found = running.ratio(17, "quick")
    assert found is not None
    assert (found.value, found.low) == (pytest.approx(1.0), None)
    null = running.ratio(17, "null")
    assert null is not None
    assert math.isclose(null.value, 1.21)
    assert running.ratio(33, "quick") is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "time left not known yet"), (1, "about 5 s left"), (61, "about 60 s left"), (600, "about 10 min left"),
     (9000, "about 2.5 h left")],
)  # fmt: skip
def test_time_left_is_told_coarsely(seconds: float | None, told: str) -> None:
    assert remaining.words(seconds) == told
