"""The supervisor against scripted workers: every way a process can end is told apart, and none outlives its job."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from tests.instructions import instructions
from zmlx_bench.measured.messages import Instructions
from zmlx_bench.schema.event import Token, WorkerEvent
from zmlx_bench.schema.plan import Timeouts
from zmlx_bench.session.supervise import Outcome, Worker

ROOT = Path(__file__).resolve().parents[2]
TOLD = instructions("qwen3")
PATIENT = Timeouts(load_s=20, prefill_s=20, decode_s=20)


@dataclass
class Watched:
    outcome: Outcome
    events: list[tuple[float, WorkerEvent]]
    log: str
    took_s: float


def watch(folder: Path, script: str, timeouts: Timeouts = PATIENT, told: Instructions = TOLD) -> Watched:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SCRIPT": script}
    log = folder / "logs" / "job.log"
    events: list[tuple[float, WorkerEvent]] = []
    start = time.perf_counter()
    worker = Worker(told, env, log, "tests.session.scripted")
    outcome = worker.watch(timeouts, lambda at, event: events.append((at, event)))
    return Watched(outcome, events, log.read_text(errors="replace"), time.perf_counter() - start)


def kinds(watched: Watched) -> list[str]:
    return [event.event for _, event in watched.events]


def test_a_good_worker_is_ok_and_every_event_arrives_in_order(tmp_path: Path) -> None:
    watched = watch(tmp_path, "good")
    assert watched.outcome == Outcome("ok", None, 0, 0.25)
    assert kinds(watched) == ["loaded", "prompts", "warmed", "prompt", "token", "token", "prompt_end", "done"]
    times = [at for at, _ in watched.events]
    assert times == sorted(times)


def test_the_supervisors_clock_sees_when_a_token_came(tmp_path: Path) -> None:
    watched = watch(tmp_path, "slow_but_alive", Timeouts(load_s=20, prefill_s=20, decode_s=5))
    assert watched.outcome.status == "ok"
    at = [at for at, event in watched.events if isinstance(event, Token)]
    assert at[-1] - at[0] >= 0.65, "seven waits of 0.1 s lie between the first token and the last"


def test_an_event_may_arrive_in_pieces(tmp_path: Path) -> None:
    watched = watch(tmp_path, "byte_by_byte")
    assert watched.outcome.status == "ok"
    assert kinds(watched) == ["loaded", "warmed", "done"]


def test_what_a_library_prints_corrupts_nothing_and_is_kept(tmp_path: Path) -> None:
    watched = watch(tmp_path, "prints")
    assert watched.outcome.status == "ok"
    assert kinds(watched).count("done") == 1
    assert '{"event": "token"' in watched.log


@pytest.mark.parametrize(
    ("script", "phase"),
    [
        ("silent_at_load", "loading"),
        ("silent_in_warm_up", "warming up"),
        ("silent_in_prefill", "prefilling p"),
        ("silent_in_decode", "decoding"),
    ],
)
def test_silence_is_a_timeout_of_its_phase(tmp_path: Path, script: str, phase: str) -> None:
    limits = {"loading": "load_s", "decoding": "decode_s"}
    short = limits.get(phase, "prefill_s")
    watched = watch(tmp_path, script, PATIENT.model_copy(update={short: 0.5}))
    assert watched.outcome.status == "timeout"
    assert watched.outcome.message is not None
    assert watched.outcome.message.startswith(f"silent for 0.5 s while {phase}")
    assert watched.took_s < 15


def test_a_worker_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    watched = watch(tmp_path, "stubborn", PATIENT.model_copy(update={"prefill_s": 0.3}))
    assert (watched.outcome.status, watched.outcome.exit_code) == ("timeout", -9)


def test_a_worker_that_does_not_exit_is_a_timeout(tmp_path: Path) -> None:
    watched = watch(tmp_path, "lingers", PATIENT.model_copy(update={"decode_s": 0.5}))
    assert watched.outcome.status == "timeout"
    assert "did not exit" in (watched.outcome.message or "")


def test_what_a_worker_forked_ends_with_it(tmp_path: Path) -> None:
    # The child holds no end of the pipe, so the worker's end is seen although the child lives.
    watched = watch(tmp_path, "forks")
    child = int(watched.log.split()[0])
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the forked child outlived its worker"
        time.sleep(0.05)
    assert watched.outcome.status == "ok"


@pytest.mark.parametrize("script", ["garbage", "unknown_event", "nan", "endless_line"])
def test_what_is_no_event_is_a_crash(tmp_path: Path, script: str) -> None:
    watched = watch(tmp_path, script)
    assert watched.outcome.status == "crash"
    assert (watched.outcome.message or "").startswith("sent something that is no event")
    assert watched.took_s < 15


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ("exits", 7, "exited with code 7 before it was done"),
        ("exits_after_done", 7, "exited with code 7"),
        ("leaves_early", 0, "exited with code 0 before it was done"),
        ("half_a_line", 0, "exited with code 0 before it was done"),
        ("killed", -9, "killed by SIGKILL"),
        ("segfault", -11, "killed by SIGSEGV"),
        ("deaf", 3, "exited with code 3 before it was done"),
    ],
)
def test_how_a_process_died_is_said(tmp_path: Path, script: str, code: int, says: str) -> None:
    # More than a pipe holds, so that a worker that reads nothing leaves the supervisor writing.
    long = replace(TOLD, path="x" * 300_000) if script == "deaf" else TOLD
    watched = watch(tmp_path, script, told=long)
    assert (watched.outcome.status, watched.outcome.exit_code) == ("crash", code)
    assert (watched.outcome.message or "").splitlines()[0] == says


def test_the_end_of_standard_error_goes_with_the_message(tmp_path: Path) -> None:
    assert "the last words" in (watch(tmp_path, "exits").outcome.message or "")
    message = watch(tmp_path, "chatty").outcome.message or ""
    assert message.endswith("END OF LOG")
    assert len(message) < 3000


@pytest.mark.parametrize("status", ["oom", "unavailable"])
def test_a_worker_that_knows_why_it_failed_is_believed(tmp_path: Path, status: str) -> None:
    watched = watch(tmp_path, f"says_{status}")
    assert (watched.outcome.status, watched.outcome.exit_code) == (status, 1)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    for script in ("good", "garbage", "killed"):
        watch(tmp_path, script)
    assert psutil.Process().num_fds() == before
