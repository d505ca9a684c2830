"""One session on its node: prepared, run to its end or resumed, as `zmlx run` does it. A process of its own.

It is told a `Told` as JSON on standard input, and says on the channel whose descriptor is its last argument when the
session's plan is written and how it ended. It ends where the other end of the channel is gone.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from zmlx_bench import exit_codes
from zmlx_bench.errors import UnusableInput, ZmlxError
from zmlx_bench.ledger.incumbent import incumbent_of
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts
from zmlx_bench.machine.device import Taken
from zmlx_bench.process import heard_path
from zmlx_bench.schema.base import StrictModel
from zmlx_bench.schema.fleet import FleetWork, Outcome
from zmlx_bench.schema.plan import Job
from zmlx_bench.session import api
from zmlx_bench.session.failing import FOR_GOOD
from zmlx_bench.session.request import Request
from zmlx_bench.session.supervise import Outcome as JobOutcome
from zmlx_bench.workspace import SESSION_FILE, Workspace


class Told(StrictModel):
    """What the process is told."""

    root: str
    """Of the node's workspace."""
    work: FleetWork


class Said(StrictModel):
    """A line on the channel."""

    begun: bool = True
    outcome: Outcome | None = None
    why: str = ""


class _Ended(BaseException):
    """SIGTERM arrived, or who started this is gone."""


class _Silent:
    """An observer: nobody looks."""

    def waiting(self, text: str) -> None:
        """Ignore it."""

    def job_started(self, job: Job) -> None:
        """Ignore it."""

    def event(self, job: Job, at: float, event: object) -> None:
        """Ignore it."""

    def job_ended(self, job: Job, outcome: JobOutcome) -> None:
        """Ignore it."""


def request_of(work: FleetWork) -> Request:
    """Return what a session of a fleet asks for."""
    question = work.question
    return Request(
        family=work.family.family,
        tokens=question.tokens,
        runs=question.runs,
        variants=work.family.variants,
        checkpoint=question.checkpoint,
        backend=work.device.machine.backend,
        null_arm=question.null_arm,
        timeout_s=question.timeout_s,
        seed=question.seed,
        prompts=question.prompts,
        command=work.command,
        session=work.session,
    )


def run(workspace: Workspace, work: FleetWork, channel: int) -> Said:
    """Run a session, or what is left of it; say how it ended."""
    begun = (workspace.session(work.session) / SESSION_FILE).exists()
    try:
        if begun:
            try:
                prepared = api.reopen(workspace, work.session)
            except UnusableInput as error:
                return Said(outcome="changed", why=str(error))
        else:
            _refuse_another(work)
            prepared = api.prepare(workspace, request_of(work), incumbent_of)
        begun = True
        _say(channel, Said())
        api.complete(prepared, _Silent())
    except Taken as error:
        return Said(begun=begun, outcome="taken", why=str(error))
    except FOR_GOOD as error:
        return Said(outcome="failed", why=str(error))
    except (ZmlxError, OSError) as error:
        return Said(begun=begun, outcome="interrupted" if begun else "refused", why=str(error))
    except _Ended:
        return Said(begun=begun, outcome="interrupted", why="it was stopped")
    return Said(outcome="finished")


def _refuse_another(work: FleetWork) -> None:
    """Raise UnusableInput where this is not the device that the session was given to."""
    machine = facts.read(backends.choose(work.device.machine.backend))
    installed = {"mlx": backends.installed("mlx"), "mlx_lm": backends.installed("mlx-lm")}
    here = work.device.model_copy(update={"machine": machine, **{n: v or "none" for n, v in installed.items()}})
    if here.group != work.device.group:
        raise UnusableInput(f"{work.device.device}: is {here.group} now, and was {work.device.group}")


def _say(channel: int, said: Said) -> None:
    try:
        os.write(channel, said.model_dump_json().encode() + b"\n")
    except OSError:
        raise _Ended from None


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Ended


def _end_with(channel: int) -> None:
    """End this process when whoever started it is gone: nobody would know of it."""
    select.select([channel], [], [])
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run the session that standard input tells of."""
    channel = int(sys.argv[-1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    told = Told.model_validate_json(sys.stdin.buffer.read())
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
    try:
        _say(channel, run(Workspace(Path(heard_path(told.root))), told.work, channel))
    except _Ended:
        return exit_codes.TERMINATED
    return exit_codes.DONE


if __name__ == "__main__":
    sys.exit(main())
