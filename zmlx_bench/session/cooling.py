"""`--cooldown cool`: wait until the machine is as cool as it was when the session began."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from zmlx_bench.machine import heat
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.session.log import finished

AT_MOST_S = 600.0
"""Longest wait before a process; a machine that has not cooled down by then does not because of the session."""
LOOK_S = 2.0


def begun(events: Path) -> MachineState | None:
    """Return the state in which a session began, before its warm-up; None before that has ended."""
    return next((log.start.before for _, log in finished(events)), None)


def wait(then: MachineState, at_most_s: float, read: Callable[[], MachineState], say: Callable[[str], None]) -> float:
    """Wait until the machine is as cool as `then`, and no longer than `at_most_s`; return the seconds.

    `say` gets a line when there is something to wait for, and one where the limit ends the wait.
    """
    start = time.monotonic()
    now = read()
    if not heat.warmer(now, then):
        return 0.0
    say(
        f"waiting until the machine is as cool as when the session began: {heat.words(now)} now, "
        f"{heat.words(then)} then; at most {at_most_s:g} s"
    )
    while heat.warmer(now, then) and (left := at_most_s - (time.monotonic() - start)) > 0:
        time.sleep(min(LOOK_S, left))
        now = read()
    if heat.warmer(now, then):
        say(f"still {heat.words(now)} after {at_most_s:g} s: going on as it is")
    return round(time.monotonic() - start, 3)
