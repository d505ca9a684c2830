"""Where a session's time went adds up to the time that it took."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tests.builders import MACHINE
from tests.protocol.test_plan import CHECKPOINT
from zmlx_bench.protocol.plan import arms_of, draw_up
from zmlx_bench.report import words
from zmlx_bench.schema.event import (
    Done,
    Failed,
    FilledEvent,
    JobEnd,
    JobEvent,
    JobStart,
    Loaded,
    Patched,
    PromptEnd,
    Prompts,
    PromptStart,
    Token,
    Warmed,
    WorkerEvent,
)
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.schema.plan import Conditions, Plan, Timeouts
from zmlx_bench.schema.prompts import Prompt, PromptSet
from zmlx_bench.session.log import JobLog
from zmlx_bench.session.spent import Spent, spent_of

TIME = "2030-01-01T00:00:00.000Z"
LOADED, WARMED = Loaded(load_s=2.0, mlx="1", mlx_lm="1"), Warmed(warm_up_s=4.0, calls_per_token={})
PROMPT = PromptStart(prompt="p0", prompt_tokens=3, t_ns=0, active_before_gb=0.0)
TOKEN, END = Token(id=1, t_ns=1), PromptEnd(prompt="p0", peak_mem_gb=0.1, cache_gb=0.0)
DONE = Done(peak_rss_gb=0.1, page_faults_minor=0, page_faults_major=0, cpu_s=0.1)
WHOLE: tuple[tuple[float, WorkerEvent], ...] = (
    (3.0, LOADED), (3.5, Patched(hosts={"qkv": 1})), (7.5, WARMED), (7.5, PROMPT), (8.0, TOKEN), (9.0, TOKEN),
    (14.0, END), (14.0, DONE),
)  # fmt: skip
"""By seconds from the start: 1 to start, 2 to load, 0.5 to bind, 4 to warm up, 0.5 prefill, 6 decode, 1 to end."""


def log(number: int, at: float, events: tuple[tuple[float, WorkerEvent], ...], took: float, resumed: int = 0) -> JobLog:
    start = JobStart(job=number, time=TIME, at=at, resumed=resumed, before=MachineState())
    end = JobEnd(job=number, time=TIME, at=at + took, status="ok", exit_code=0, after=MachineState())
    return JobLog(start, [JobEvent(job=number, at=at + after, event=event) for after, event in events], end)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return draw_up(
        family="qwen3", checkpoint=CHECKPOINT, conditions=Conditions(), backend=MACHINE.backend, tokens=[2], blocks=2,
        seed=0, cooldown_s=0.0, timeouts=Timeouts(), prompts=PromptSet(prompt=(Prompt(id="p0", domain="x", text="x"),)),
        arms=arms_of((), None, null_arm=False),
    )  # fmt: skip


def test_every_phase_is_told_and_all_adds_up(plan: Plan) -> None:
    logs = [(0, log(0, 100.0, WHOLE, 15.0)), (1, log(1, 118.0, WHOLE, 15.5))]
    spent = spent_of(plan, logs, preparing_s=7.0)
    assert spent == Spent(
        processes=2, preparing_s=7.0, start_up_s=2.0, load_s=4.0, bind_s=1.0, warm_up_s=8.0, prefill_s=1.0,
        timed_decode_s=6.0, untimed_decode_s=6.0, waiting_s=3.0, other_s=2.5,
    )  # fmt: skip
    assert spent.total_s == 7.0 + 33.5
    told = list(words.spent(spent))
    assert told[0] == "40.5 s, 2 processes:"
    assert "timed decode 6.0 s" in told
    assert not [part for part in told if part.startswith("audits")], "there were none"
    assert sum(float(part.split()[-2]) for part in told[1:]) == pytest.approx(40.5)


def test_a_context_is_prefill_and_its_rehearsal_is_warm_up(plan: Plan) -> None:
    filled = FilledEvent(tokens=8, sha256="0" * 64, seconds=2.0)
    told = Prompts(sha256={"p0": "0" * 64})
    later = tuple((after + 3.0, event) for after, event in WHOLE[2:])
    events = (*WHOLE[:2], (3.5, told), (6.5, filled), *later)
    spent, without = (spent_of(plan, [(1, log(1, 100.0, each, 18.0))]) for each in (events, WHOLE))
    assert spent is not None
    assert without is not None
    assert spent.prefill_s - without.prefill_s == pytest.approx(2.0)
    assert spent.warm_up_s - without.warm_up_s == pytest.approx(1.0)


def test_a_rehearsal_without_a_context_is_warm_up(plan: Plan) -> None:
    later = tuple((after + 3.0, event) for after, event in WHOLE[2:])
    events = (*WHOLE[:2], (3.5, Prompts(sha256={"p0": "0" * 64})), *later)
    spent = spent_of(plan, [(1, log(1, 100.0, events, 18.0))])
    without = spent_of(plan, [(1, log(1, 100.0, WHOLE, 15.0))])
    assert spent is not None
    assert without is not None
    assert spent.warm_up_s - without.warm_up_s == pytest.approx(3.0), "a batch is rehearsed before its warm-up begins"
    assert spent.other_s == without.other_s


def test_what_is_compiled_ahead_is_no_waiting(plan: Plan) -> None:
    logs = [(0, log(0, 100.0, WHOLE, 15.0)), (1, log(1, 118.0, WHOLE, 15.0))]
    logs[1][1].start = logs[1][1].start.model_copy(update={"compiled_s": 2.5})
    spent = spent_of(plan, logs)
    assert spent is not None
    assert (spent.waiting_s, spent.compiling_s, spent.total_s) == (0.5, 2.5, 33.0)
    assert "compiling ahead 2.5 s" in words.spent(spent)


def test_the_time_until_a_session_is_taken_up_again_is_not_its_own(plan: Plan) -> None:
    spent = spent_of(plan, [(0, log(0, 100.0, WHOLE, 15.0)), (1, log(1, 9000.0, WHOLE, 15.0, resumed=1))])
    assert spent is not None
    assert (spent.waiting_s, spent.total_s) == (0.0, 30.0)


def test_a_process_that_failed_is_other_from_where_it_got_to(plan: Plan) -> None:
    failed = Failed(status="crash", message="no")
    spent = spent_of(plan, [(1, log(1, 100.0, (WHOLE[0], (3.5, failed)), 5.0))])
    assert spent is not None
    assert {name: value for name, value in asdict(spent).items() if value} == {
        "processes": 1, "start_up_s": 1.0, "load_s": 2.0, "other_s": 2.0,
    }  # fmt: skip


def test_a_log_from_before_it_was_told_says_nothing(plan: Plan) -> None:
    old = log(0, 100.0, WHOLE, 15.0)
    old.start = old.start.model_copy(update={"at": None})
    assert spent_of(plan, [(0, old)]) is None
