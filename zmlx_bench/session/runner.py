"""Runs the jobs of a session, one process after the other, and leaves every event on disk as it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.environments.kept import Made
from zmlx_bench.errors import UnusableInput
from zmlx_bench.machine import state, tested
from zmlx_bench.machine.energy import Meter
from zmlx_bench.measured.conditions.asked import Asked
from zmlx_bench.measured.messages import Conditions, Instructions, Prompt
from zmlx_bench.printable import said
from zmlx_bench.process import told_path
from zmlx_bench.protocol.batch import members
from zmlx_bench.protocol.context import context_ids
from zmlx_bench.schema.base import Status, utc_now
from zmlx_bench.schema.event import JobEnd, JobEvent, JobStart, Loaded, Opened, WorkerEvent
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.schema.plan import Arm, Job, Plan
from zmlx_bench.schema.session import Session
from zmlx_bench.session import cooling, elsewhere, opened, store
from zmlx_bench.session.ahead import Ahead, compile_ahead
from zmlx_bench.session.audit import answers
from zmlx_bench.session.elsewhere import Home, Homes
from zmlx_bench.session.energy import DecodeEnergy
from zmlx_bench.session.environment import without_secrets, worker_environment
from zmlx_bench.session.failing import StockFails
from zmlx_bench.session.log import EventLog, ends, finished
from zmlx_bench.session.supervise import Outcome, Worker
from zmlx_bench.session.tally import DEFAULT, Expected, Tally
from zmlx_bench.workspace import Workspace

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


@dataclass(frozen=True)
class Ground:
    """What the jobs of a session need beside its plan."""

    workspace: Workspace
    checkpoint_path: Path
    catalog: Catalog
    """The variants and kernels of the session's family."""
    made: Mapping[str, Made] = field(default_factory=dict)
    """The environments of arms that have one of their own, by what they are asked for by."""


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
    ahead = Ahead(plan, lambda job, arm: _instructions(plan, job, arm, {}, ground))
    left: MachineState | None = None
    with contextlib.closing(log), Homes(ground.made, plan.backend) as homes:
        for job in plan.jobs:
            blocks = _blocks_before(plan, job)
            if session.stopped is None and blocks in plan.looks and blocks != looked:
                session, looked = look(session, blocks), blocks
                left = None
            if session.stopped is not None and job.block is not None and job.block > session.stopped.blocks:
                continue
            if job.id in ended or _retired(plan.arm(job.arm), failures.get(job.arm, [])):
                continue
            forced = _forced(plan, job, path)
            if job.kind == "audit" and not forced:
                continue
            home = homes.of(plan.arm(job.arm))
            compiled_s = _compiled_ahead(session, job, ahead, home, ground, observer)
            before = left if compiled_s is None else None
            outcome, left = _run_job(session, job, forced, ground, log, observer, home, compiled_s, before)
            home.compiled.ended(well=outcome.status == "ok")
            if outcome.status != "ok":
                failures.setdefault(job.arm, []).append(outcome.status)
                _stop_if_stock_fails(session, job, failures[job.arm], outcome.message, ground)
            if plan.cooldown_s and job.kind == "timed":
                time.sleep(plan.cooldown_s)
                left = None
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


def _compiled_ahead(
    session: Session, job: Job, ahead: Ahead, home: Home, ground: Ground, observer: Observer
) -> float | None:
    """Have what a job's variant needs compiled, where it can be; return the seconds that took, None where none."""
    arm = session.plan.arm(job.arm)
    if not home.ahead or not (told := ahead.due(job)):
        return None
    log = store.log_path(ground.workspace, session.session, job.id)
    return compile_ahead(
        told,
        home.python,
        home.variables(worker_environment(arm)),
        home.compiled,
        log.with_name(f"ahead-{log.name}"),
        session.plan.timeouts,
        lambda: observer.waiting("compiling kernels for all processes"),
    )


def _run_job(
    session: Session,
    job: Job,
    forced: dict[str, tuple[int, ...]],
    ground: Ground,
    log: EventLog,
    observer: Observer,
    home: Home,
    compiled_s: float | None,
    before: MachineState | None,
) -> tuple[Outcome, MachineState]:
    """Run a job's process; return how it ended and the machine's state then.

    `before` is the state at the end of the process before it, which is the state now unless something was waited for.
    """
    plan = session.plan
    arm = plan.arm(job.arm)
    waited = _cooled(plan, job, log, observer)
    at = time.perf_counter()
    if before is None or waited is not None:
        before = state.read(plan.backend)
    log.write(
        JobStart(
            job=job.id,
            time=utc_now(),
            at=at,
            resumed=session.resumed,
            waited_s=waited,
            compiled_s=compiled_s,
            before=before,
        )
    )
    observer.job_started(job)
    busy, wall = state.busy_cpu_s(), time.perf_counter()
    own = time.process_time()
    worker = Worker(
        _instructions(plan, job, arm, forced, ground),
        home.variables(worker_environment(arm)) | (_EXACT if job.kind == "audit" else {}),
        store.log_path(ground.workspace, session.session, job.id),
        WORKER_MODULE,
        home.python,
    )

    tally = Tally(job, forced, {name: plan.token_ids(name) for name in _prefilled(plan, job)}, _expected(plan, job))
    gauge = DecodeEnergy(Meter(plan.backend))

    def on_event(at: float, event: WorkerEvent) -> None:
        if job.kind == "timed":
            gauge.note(event)
        log.write(JobEvent(job=job.id, at=at, event=event))
        tally.note(event)
        if isinstance(event, Loaded):
            elsewhere.check(arm, event)
        if isinstance(event, Opened):
            opened.check(event.files, opened.known_to(ground.catalog, arm), ground.workspace.root.resolve())
        observer.event(job, at, event)

    try:
        outcome = worker.watch(plan.timeouts, on_event)
    except BaseException:
        worker.kill()
        raise
    if outcome.message is not None:
        outcome = replace(outcome, message=without_secrets(outcome.message))
    others = None
    if outcome.cpu_s is not None:
        used = outcome.cpu_s + time.process_time() - own
        others = round(max(0.0, state.busy_cpu_s() - busy - used) / (time.perf_counter() - wall), 3)
    ended = time.perf_counter()
    after = state.read(plan.backend, others)
    log.write(
        JobEnd(
            job=job.id,
            time=utc_now(),
            at=ended,
            status=outcome.status,
            message=outcome.message,
            exit_code=outcome.exit_code,
            energy_j=gauge.joules,
            prefix_energy_j=gauge.prefixes,
            after=after,
        )
    )
    log.sync()
    observer.job_ended(job, outcome)
    return outcome, after.model_copy(update={"cpu_busy_by_others": None})


def _cooled(plan: Plan, job: Job, log: EventLog, observer: Observer) -> float | None:
    """Wait before a timed job where the plan says so; return the seconds, None where it does not."""
    if plan.cool_at_most_s is None or job.kind != "timed":
        return None
    then = cooling.begun(log.path)
    if then is None:
        return None
    return cooling.wait(then, plan.cool_at_most_s, lambda: state.read(plan.backend), observer.waiting)


def _instructions(plan: Plan, job: Job, arm: Arm, forced: dict[str, tuple[int, ...]], ground: Ground) -> Instructions:
    return Instructions(
        family_folder=told_path(families.folder(plan.family, ground.workspace)),
        checkpoint_kind=plan.checkpoint.kind,
        path=told_path(ground.checkpoint_path),
        seed=plan.seed,
        layers=plan.checkpoint.layers,
        trust_remote_code=plan.checkpoint.trust_remote_code,
        backend=plan.backend,
        variant=ground.catalog.plain(arm.variant) if arm.variant is not None and arm.variant.kernels else None,
        elsewhere=arm.variant is not None and arm.variant.environment is not None,
        kernels=told_path(ground.workspace.kernels),
        tokens=job.tokens,
        prefixes=job.prefixes,
        prompts=tuple(Prompt(name, plan.token_ids(name)) for name in _prefilled(plan, job)),
        margins=job.kind == "fidelity" and arm.role == "baseline",
        forced=forced,
        conditions=_conditions(plan, job),
    )


def _prefilled(plan: Plan, job: Job) -> tuple[str, ...]:
    """Return the prompts that a job's process prefills: its own, and those decoded beside them."""
    return tuple(dict.fromkeys(name for batch in _batches(plan, job) for name in batch))


def _batches(plan: Plan, job: Job) -> tuple[tuple[str, ...], ...]:
    prompts = [prompt.id for prompt in plan.prompts.prompt]
    return tuple(members(prompts, name, plan.conditions.batch) for name in job.prompts)


def _context(plan: Plan) -> tuple[int, ...]:
    if plan.conditions.context is None or plan.encoded is None:
        return ()
    return context_ids(plan.encoded.context_pieces, plan.conditions.context)


def _expected(plan: Plan, job: Job) -> Expected:
    asked = plan.conditions
    if asked.default or job.kind == "audit":
        return DEFAULT
    return Expected(Asked(asked.batch, asked.kv_bits, asked.max_kv_size), _context(plan), told=True)


def _conditions(plan: Plan, job: Job) -> Conditions | None:
    asked = plan.conditions
    if asked.default:
        return None
    return Conditions(
        context=_context(plan),
        batches=_batches(plan, job),
        kv_bits=asked.kv_bits,
        max_kv_size=asked.max_kv_size,
    )
