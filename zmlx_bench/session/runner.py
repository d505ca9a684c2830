"""Runs the jobs of a session, one process after the other, and leaves every event on disk as it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from zmlx_bench.errors import UnusableInput
from zmlx_bench.machine import clock, state, tested
from zmlx_bench.machine.energy import Meter
from zmlx_bench.printable import said
from zmlx_bench.schema.base import Status, utc_now
from zmlx_bench.schema.event import JobEnd, JobEvent, JobStart, Loaded, Opened, WorkerEvent
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.schema.plan import Arm, Job, Plan
from zmlx_bench.schema.session import Session
from zmlx_bench.session import cooling, elsewhere, instructions, opened, store
from zmlx_bench.session.ahead import Ahead, compile_ahead
from zmlx_bench.session.audit import answers
from zmlx_bench.session.elsewhere import Home, Homes
from zmlx_bench.session.energy import DecodeEnergy
from zmlx_bench.session.environment import without_secrets, worker_environment
from zmlx_bench.session.failing import StockFails
from zmlx_bench.session.instructions import Ground
from zmlx_bench.session.log import EventLog, ends, finished
from zmlx_bench.session.supervise import Outcome, Worker
from zmlx_bench.session.tally import Tally

WORKER_MODULE = "zmlx_bench.measured.worker"
STOCK_TRIES = 2
_EXACT = {"MLX_ENABLE_TF32": "0"}
"""The audit's reference is float32 on CUDA too, where MLX multiplies float32 matrices in TF32 otherwise."""


class Observer(Protocol):
    """Told what happens, for progress; it cannot change it."""

    def waiting(self, text: str) -> None:
        """Tell that the session waits for the machine, and why."""

    def job_started(self, job: Job) -> None:
        """Tell that a job's process starts."""

    def event(self, job: Job, at: float, event: WorkerEvent) -> None:
        """Tell a worker's event."""

    def job_ended(self, job: Job, outcome: Outcome) -> None:
        """Tell how a job ended."""


Look = Callable[[Session, int], Session]
"""Returns the session as it stands after a look at so many blocks."""


def run_jobs(session: Session, ground: Ground, observer: Observer, look: Look) -> Session:
    """Run every job of the plan that has not ended yet, up to the look at which the session stops; return the session.

    An arm whose process failed is not run again (its verdict is clear and the other arms need the time); the
    stock arms are tried once more. Raises StockFails when the stock model itself does not run.
    """
    plan = session.plan
    path = store.events_path(ground.workspace, session.session)
    ended = ends(path)
    failures: dict[str, list[Status]] = {}
    for job_id, end in ended.items():
        if job_id >= len(plan.jobs):
            raise UnusableInput(f"{path}: job {job_id} is not in the session's plan")
        if end.status != "ok":
            job = plan.jobs[job_id]
            failures.setdefault(job.arm, []).append(end.status)
            _stop_if_stock_fails(session, job, failures[job.arm], end.message, ground)
    log = EventLog(path)
    looked = 0
    with contextlib.closing(log), Homes(ground.made, plan.backend) as homes:
        processes = Processes(session, ground, observer, log, homes)
        for job in plan.jobs:
            blocks = _blocks_before(plan, job)
            if session.stopped is None and blocks in plan.looks and blocks != looked:
                session, looked = look(session, blocks), blocks
                processes.left = None
            if session.stopped is not None and job.block is not None and job.block > session.stopped.blocks:
                continue
            if job.id in ended or _retired(plan.arm(job.arm), failures.get(job.arm, [])):
                continue
            forced = _forced(plan, job, path)
            if job.kind == "audit" and not forced:
                continue
            outcome = processes.run(job, forced)
            if outcome.status != "ok":
                failures.setdefault(job.arm, []).append(outcome.status)
                _stop_if_stock_fails(session, job, failures[job.arm], outcome.message, ground)
            if plan.cooldown_s and job.kind == "timed":
                time.sleep(plan.cooldown_s)
                processes.left = None
        if session.stopped is None and plan.looks and looked != plan.blocks:
            # No job comes after the blocks where there is one prompt.
            session = look(session, plan.blocks)
    return session


def _blocks_before(plan: Plan, job: Job) -> int:
    """Return how many blocks have ended when a job's turn comes."""
    if job.id == 0:
        return 0
    return plan.blocks if job.block is None else job.block - 1


def _forced(plan: Plan, job: Job, events: Path) -> dict[str, tuple[int, ...]]:
    """Return the baseline's tokens that an audit forces; empty for other jobs, and where the baseline has none."""
    if job.kind != "audit":
        return {}
    untimed = {number: log for number, log in finished(events) if plan.jobs[number].kind == "fidelity"}
    return {prompt: tokens[: job.tokens] for prompt, tokens in answers(plan, untimed).items()}


def _retired(arm: Arm, failures: list[Status]) -> bool:
    allowed = STOCK_TRIES if arm.variant is None else 1
    return len(failures) >= allowed


def _stop_if_stock_fails(
    session: Session, job: Job, failures: list[Status], message: str | None, ground: Ground
) -> None:
    if session.plan.arm(job.arm).role != "baseline" or (job.id > 0 and len(failures) < STOCK_TRIES):
        return
    ran = session.software
    log = store.log_path(ground.workspace, session.session, job.id).relative_to(ground.workspace.root)
    raise StockFails(
        f"the stock model does not run here ({failures[-1]}): {said(message)}"
        f"{tested.remark(ran.mlx, ran.mlx_lm, ran.python)}; all of it is in {log}"
    )


class Processes:
    """Runs a session's jobs, a process each."""

    def __init__(self, session: Session, ground: Ground, observer: Observer, log: EventLog, homes: Homes) -> None:
        plan = session.plan
        self._session, self._plan, self._ground = session, plan, ground
        self._observer, self._log, self._homes = observer, log, homes
        self._ahead = Ahead(plan, lambda job, arm: instructions.told(plan, job, arm, {}, ground))
        self.left: MachineState | None = None
        """The machine's state at the end of the process before, which is the state now; None where it has to be read
        anew, because something took time since."""

    def run(self, job: Job, forced: dict[str, tuple[int, ...]]) -> Outcome:
        """Run a job's process and return how it ended; `forced` are the tokens that an audit forces, by prompt."""
        home = self._homes.of(self._plan.arm(job.arm))
        self._start(job, home)
        company = _Company()
        worker = self._worker(job, forced, home)
        gauge = DecodeEnergy(Meter(self._plan.backend))
        outcome = self._watched(worker, job, forced, gauge)
        others = None if outcome.cpu_s is None else company.cores(outcome.cpu_s)
        self._end(job, outcome, gauge, others)
        home.compiled.ended(well=outcome.status == "ok")
        return outcome

    def _start(self, job: Job, home: Home) -> None:
        """Wait for what is to come before a job's process, and write down that it starts."""
        compiled_s = self._compiled_ahead(job, home)
        waited_s = self._cooled(job)
        at = time.perf_counter()
        if self.left is None or compiled_s is not None or waited_s is not None:
            self.left = state.read(self._plan.backend)
        self._log.write(
            JobStart(
                job=job.id,
                time=utc_now(),
                since_boot_s=clock.since_boot_s(),
                at=at,
                resumed=self._session.resumed,
                waited_s=waited_s,
                compiled_s=compiled_s,
                before=self.left,
            )
        )
        self._observer.job_started(job)

    def _compiled_ahead(self, job: Job, home: Home) -> float | None:
        """Have what a job's variant needs compiled, where it can be; return the seconds that took, None where none."""
        if not home.ahead or not (told := self._ahead.due(job)):
            return None
        log = self._log_path(job)
        return compile_ahead(
            told,
            home.python,
            home.variables(worker_environment(self._plan.arm(job.arm))),
            home.compiled,
            log.with_name(f"ahead-{log.name}"),
            self._plan.timeouts,
            lambda: self._observer.waiting("compiling kernels for all processes"),
        )

    def _cooled(self, job: Job) -> float | None:
        """Wait before a timed job where the plan says so; return the seconds, None where it does not."""
        if self._plan.cool_at_most_s is None or job.kind != "timed":
            return None
        then = cooling.begun(self._log.path)
        if then is None:
            return None
        now = partial(state.read, self._plan.backend)
        return cooling.wait(then, self._plan.cool_at_most_s, now, self._observer.waiting)

    def _worker(self, job: Job, forced: dict[str, tuple[int, ...]], home: Home) -> Worker:
        arm = self._plan.arm(job.arm)
        return Worker(
            instructions.told(self._plan, job, arm, forced, self._ground),
            home.variables(worker_environment(arm)) | (_EXACT if job.kind == "audit" else {}),
            self._log_path(job),
            WORKER_MODULE,
            home.python,
        )

    def _watched(self, worker: Worker, job: Job, forced: dict[str, tuple[int, ...]], gauge: DecodeEnergy) -> Outcome:
        """Hear a worker to its end, each event on disk before it is held against what was planned."""
        arm, ids = self._plan.arm(job.arm), instructions.prefilled(self._plan, job)
        tally = Tally(
            job, forced, {name: self._plan.token_ids(name) for name in ids}, instructions.expected(self._plan, job)
        )

        def on_event(at: float, event: WorkerEvent) -> None:
            if job.kind == "timed":
                gauge.note(event)
            self._log.write(JobEvent(job=job.id, at=at, event=event))
            tally.note(event)
            if isinstance(event, Loaded):
                elsewhere.check(arm, event)
            if isinstance(event, Opened):
                known = opened.known_to(self._ground.catalog, arm)
                opened.check(event.files, known, self._ground.workspace.root.resolve())
            self._observer.event(job, at, event)

        try:
            outcome = worker.watch(self._plan.timeouts, on_event)
        except BaseException:
            worker.kill()
            raise
        return outcome if outcome.message is None else replace(outcome, message=without_secrets(outcome.message))

    def _end(self, job: Job, outcome: Outcome, gauge: DecodeEnergy, others: float | None) -> None:
        """Write down how a job ended; `others` is how many cores other processes kept busy meanwhile."""
        ended = time.perf_counter()
        after = state.read(self._plan.backend, others)
        self._log.write(
            JobEnd(
                job=job.id,
                time=utc_now(),
                since_boot_s=clock.since_boot_s(),
                at=ended,
                status=outcome.status,
                message=outcome.message,
                exit_code=outcome.exit_code,
                energy_j=gauge.joules,
                prefix_energy_j=gauge.prefixes,
                after=after,
            )
        )
        self._log.sync()
        self._observer.job_ended(job, outcome)
        self.left = after.model_copy(update={"cpu_busy_by_others": None})

    def _log_path(self, job: Job) -> Path:
        return store.log_path(self._ground.workspace, self._session.session, job.id)


class _Company:
    """What other processes have used of the machine since this was made."""

    def __init__(self) -> None:
        self._busy_s, self._wall_s = state.busy_cpu_s(), time.perf_counter()
        self._own_s = time.process_time()

    def cores(self, worker_cpu_s: float) -> float:
        """Return how many cores they kept busy, beside a worker that used so many CPU seconds and this process."""
        used_s = worker_cpu_s + time.process_time() - self._own_s
        return round(max(0.0, state.busy_cpu_s() - self._busy_s - used_s) / (time.perf_counter() - self._wall_s), 3)
