"""Progress of a session on a terminal: block, arm, tok/s, time left, and each variant's ratio so far.

Silent when stderr is no terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.text import Text

from zmlx_bench.analysis.running import Running
from zmlx_bench.analysis.throughput import decode_tok_s
from zmlx_bench.cli import remaining
from zmlx_bench.cli.drawn import Drawn
from zmlx_bench.cli.output import say
from zmlx_bench.printable import said
from zmlx_bench.report import words
from zmlx_bench.report.layout import Columns, Flow
from zmlx_bench.schema.event import Loaded, Patched, PromptStart, Token, WorkerEvent
from zmlx_bench.schema.plan import Job, Plan
from zmlx_bench.schema.run import Run
from zmlx_bench.session.api import Prepared
from zmlx_bench.session.supervise import Outcome

_BAR = 20
_EVERY = 16
_REDRAWS_PER_S = 2


class Progress(Drawn):
    """An observer that draws where a session stands and prints a line for every arm that failed.

    `ended` are the runs that an interrupted session has already.
    """

    def __init__(
        self, plan: Plan, console: Console, ended: Iterable[Run] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(console, _REDRAWS_PER_S)
        self._plan = plan
        self._clock = clock
        self._running = Running(plan)
        self._remaining = remaining.Remaining(plan.cooldown_s)
        self._failed: set[str] = set()
        self._next = 0
        self._place, self._arm, self._what = "starting", "", ""
        self._started = self._prompted = clock()
        self._seen: list[int] = []
        for run in ended:
            self._next = max(self._next, run.job + 1)
            tok_s = decode_tok_s(run.generations[0]) if run.status == "ok" else None
            if run.block is not None and tok_s is not None:
                self._running.add(run.tokens, run.arm, run.block, tok_s)

    def waiting(self, text: str) -> None:
        """Say that the session waits."""
        self._what = "waiting"
        self._console.print(text)

    def job_started(self, job: Job) -> None:
        """Show which process runs now."""
        self._seen = []
        self._next = job.id
        self._started = self._prompted = self._clock()
        match job.kind:
            case "warmup":
                self._place = "warm-up"
            case "fidelity" | "audit":
                self._place = job.kind
            case _:
                budgets = " and ".join(map(str, job.budgets))
                self._place = f"block {job.block}/{self._plan.blocks}, {budgets} tokens"
        self._arm, self._what = job.arm, "loading"

    def event(self, job: Job, at: float, event: WorkerEvent) -> None:  # noqa: ARG002
        """Take the phase, and the speed every few tokens."""
        if isinstance(event, Token):
            self._seen.append(event.t_ns)
            if len(self._seen) % _EVERY == 0 and (speed := self._speed()) is not None:
                self._what = f"{speed:.1f} tok/s"
        elif isinstance(event, PromptStart):
            if not self._seen:
                self._prompted = self._clock()
            self._seen = []
            self._what = event.prompt
        elif isinstance(event, Loaded | Patched):
            self._what = "warming up"

    def job_ended(self, job: Job, outcome: Outcome) -> None:
        """Advance, take the speed, and say when an arm failed."""
        self._next = job.id + 1
        if outcome.status == "ok":
            self._remaining.ended(job, self._prompted - self._started, self._clock() - self._prompted)
            for tokens in job.budgets if job.block is not None else ():
                if (speed := self._speed(tokens)) is not None:
                    self._running.add(tokens, job.arm, job.block or 0, speed)
            return
        if self._plan.arm(job.arm).variant is not None:
            self._failed.add(job.arm)
        self._console.print(f"{job.arm}: {outcome.status}: {said(outcome.message)}")

    def view(self) -> RenderableType:
        """Return what is drawn now."""
        total = len(self._plan.jobs)
        left = [job for job in self._plan.jobs[self._next :] if job.arm not in self._failed]
        time_left = remaining.words(self._remaining.seconds(left))
        return Group(
            Flow([self._place, Text(self._arm, "bold"), self._what], hang=2),
            Flow([_bar(self._next / total), f"{self._next} of {total} processes", time_left], hang=2),
            *self._ratios(),
        )

    def _ratios(self) -> Iterator[RenderableType]:
        names = [arm.name for arm in self._plan.arms if arm.role != "baseline"]
        found = {name: [self._running.ratio(budget, name) for budget in self._plan.tokens] for name in names}
        columns = Columns()
        for name, ratios in found.items():
            if any(ratio is not None for ratio in ratios):
                shown = zip(self._plan.tokens, ratios, strict=True)
                columns.add(name, *(f"{budget}: {words.ratio(ratio)}" for budget, ratio in shown))
        if columns.rows:
            yield Text("ratios so far, by budget, with 90% intervals (they decide nothing yet)", "dim")
        for cells in columns.padded():
            yield Flow(cells, indent=2, hang=4)

    def _speed(self, first: int | None = None) -> float | None:
        """Return tokens a second over the `first` tokens of the prompt, or all so far."""
        seen = self._seen[:first]
        if len(seen) < 2 or seen[-1] <= seen[0]:
            return None
        return (len(seen) - 1) * 1e9 / (seen[-1] - seen[0])


def _bar(share: float) -> Text:
    full = round(share * _BAR)
    return Text.assemble(("\u2501" * full, "green"), ("\u2501" * (_BAR - full), "dim"))


def announced(console: Console, prepared: Prepared) -> Progress:
    """Say which session begins and which arms it has; return its progress."""
    session = prepared.session
    names = ", ".join(arm.name for arm in session.plan.arms if arm.variant is not None)
    say(f"session {session.session}: {names}")
    return Progress(session.plan, console)
