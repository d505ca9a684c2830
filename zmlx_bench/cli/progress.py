"""Progress of a session on a terminal: block, arm, tok/s and time left. Silent when stderr is no terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from zmlx_bench.schema.event import Loaded, Patched, PromptStart, Token, WorkerEvent
from zmlx_bench.schema.plan import Job, Plan
from zmlx_bench.session.supervise import Outcome

_EVERY = 16


class Progress:
    """An observer that draws a progress bar and prints a line for every arm that failed."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=len(plan.jobs))
        self._seen: list[float] = []

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()

    def job_started(self, job: Job) -> None:
        """Show which process runs now."""
        self._seen = []
        self._show(job, "loading")

    def event(self, job: Job, at: float, event: WorkerEvent) -> None:
        """Show the phase, and the speed every few tokens."""
        if isinstance(event, Token):
            self._seen.append(at)
            if len(self._seen) % _EVERY == 0:
                # Tokens that were read from the pipe at once carry one time.
                seconds = self._seen[-1] - self._seen[0]
                self._show(job, f"{(len(self._seen) - 1) / seconds:.1f} tok/s" if seconds > 0 else "decoding")
        elif isinstance(event, PromptStart):
            self._seen = []
            self._show(job, event.prompt)
        elif isinstance(event, Loaded | Patched):
            self._show(job, "warming up")

    def job_ended(self, job: Job, outcome: Outcome) -> None:
        """Advance, and say when an arm failed."""
        self._bar.update(self._task, completed=job.id + 1)
        if outcome.status != "ok":
            reason = (outcome.message or "").splitlines()[0] if outcome.message else ""
            self._console.print(f"{job.arm}: {outcome.status}: {reason}")

    def _show(self, job: Job, what: str) -> None:
        match job.kind:
            case "warmup":
                place = "warm-up"
            case "fidelity" | "audit":
                place = job.kind
            case _:
                place = f"block {job.block}/{self._plan.runs}, {job.tokens} tokens"
        self._bar.update(self._task, description=f"{place}  {job.arm}  {what}")
