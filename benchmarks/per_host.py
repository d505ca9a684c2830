"""Do two sessions on one host disturb each other? The same sessions at once and one after the other, by `zmlx fleet`.

    python benchmarks/per_host.py [--state DIR] qwen3 glm47 --checkpoint synthetic --variants qwen_step,glm_fused_gate

Needs a host with two devices. Two fleets of one session of each family run, `--local`: first with `--per-host 2`, then
with `--per-host 1`; what else is given goes to `zmlx fleet run`. With `--state` the workspace stays in that folder, and
the same command goes on there after it was ended: a fleet that is done is not run again.

Said of each session: its device, and how much of its time another session ran beside it; of each variant and budget
both ratios and stock's speeds, and the difference of the ratios' logarithms (at once minus one after the other) with
its 90% interval, from the two sessions' own intervals: half widths added in squares. `--per-host` may be raised where
every interval lies within 1% and the sessions at once were so for most of their time. Where they were not, or there is
nothing to compare, it is said that nothing can be.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zmlx_bench import workspace as workspaces
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.journal import Place
from zmlx_bench.fleet.show import standing
from zmlx_bench.ledger import matrix
from zmlx_bench.schema.fleet import Assigned, Collected, Ended, FleetEvent
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.workspace import Workspace

ZMLX = (sys.executable, "-c", "from zmlx_bench.cli.main import main; main()")
WITHIN = math.log(1.01)
AT_ONCE, IN_TURN = 2, 1
"""The two values of `--per-host`."""
MOST = 0.5
"""Share of its time that a session must have had another beside it to be one of two at once."""


@dataclass(frozen=True)
class Difference:
    """Parallel minus serial, of ln(ratio)."""

    value: float
    half: float

    @property
    def small(self) -> bool:
        """Whether the interval lies within 1%."""
        return abs(self.value) + self.half <= WITHIN


@dataclass
class Ran:
    """Where a session ran, and when: seconds since 1970, a pair for each time that it was started."""

    device: str
    spans: list[tuple[float, float]] = field(default_factory=list)

    def beside(self, others: Iterable[Ran]) -> float:
        """Return the share of its time in which another ran too; with two of them it counts twice."""
        theirs = [span for other in others if other is not self for span in other.spans]
        shared = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in self.spans for b in theirs)
        took = sum(end - begin for begin, end in self.spans)
        return shared / took if took else 0.0


def difference(parallel: MatrixRow, serial: MatrixRow) -> Difference | None:
    """Return how the two differ; None where one has no ratio."""
    found: list[tuple[float, float]] = []
    for row in (parallel, serial):
        if not row.speedup or not row.speedup_low or not row.speedup_high:
            return None
        found.append((math.log(row.speedup), math.log(row.speedup_high / row.speedup_low) / 2))
    (a, half_a), (b, half_b) = found
    return Difference(a - b, math.hypot(half_a, half_b))


def ran(events: Iterable[FleetEvent]) -> dict[str, Ran]:
    """Return the sessions of a journal that were collected."""
    found: dict[str, Ran] = {}
    begun: dict[str, float] = {}
    collected: set[str] = set()
    for event in events:
        match event:
            case Assigned():
                found.setdefault(event.session, Ran(event.device))
                begun[event.session] = event.at
            case Ended() if event.session in begun:
                found[event.session].spans.append((begun.pop(event.session), event.at))
            case Collected():
                collected.add(event.session)
            case _:
                pass
    return {session: one for session, one in found.items() if session in collected}


def done(workspace: Workspace, per_host: int) -> Place | None:
    """Return the fleet that has all its sessions, where there is one."""
    for place in journal.runs(workspace):
        states = {item.state for item in standing(place).items.values()}
        if place.run().question.per_host == per_host and place.over and states == {"collected"}:
            return place
    return None


def fleet(workspace: Workspace, per_host: int, options: Sequence[str]) -> Place:
    """Return the fleet, run now or before; SystemExit where it does not come to its end."""
    if (place := done(workspace, per_host)) is not None:
        return place
    told = [*ZMLX, "fleet", "run", *options, "--local", "--sessions", "1", "--per-host", str(per_host)]
    with subprocess.Popen([*told, "--workspace", str(workspace.root)], stdout=sys.stderr) as head:
        # A time limit ends this process alone; the head ends its sessions, and the next one goes on with them.
        before = signal.signal(signal.SIGTERM, lambda *_: head.terminate())
        code = head.wait()
        signal.signal(signal.SIGTERM, before)
    place = done(workspace, per_host)
    if code or place is None:
        sys.stderr.write(f"the fleet with --per-host {per_host} ended with exit code {code} and is not done\n")
        raise SystemExit(code or 1)
    return place


def compared(workspace: Workspace, parallel: Place, serial: Place) -> str:
    """Print how the sessions of two fleets ran and how they differ; return what that says of `--per-host`."""
    rows: list[dict[tuple[str, str, int], MatrixRow]] = []
    least = 1.0
    for name, place in (("at once", parallel), ("one after the other", serial)):
        sessions = ran(journal.read(place.journal))
        for session, one in sessions.items():
            shared = one.beside(sessions.values())
            took = sum(end - begin for begin, end in one.spans)
            print(f"{name}: {session} on {one.device}, {took:.0f} s, {shared:.0%} of them beside another session")
            least = least if place is serial else min(least, shared)
        read = matrix.read(workspace.matrix)
        rows.append({(row.family, row.variant, row.tokens): row for row in read if row.session in sessions})
    keys = sorted(rows[0].keys() | rows[1].keys())
    return verdict([_differs(key, rows[0].get(key), rows[1].get(key)) for key in keys], least)


def verdict(small: Sequence[bool], least: float) -> str:
    """Return what is said of `--per-host`, by whether each difference is small.

    `least` is the share of its time that the session that was least so, of those at once, had another beside it.
    """
    if not small:
        return "nothing to compare, no session has a row: --per-host stays 1"
    if least <= MOST:
        return f"nothing said, a session ran beside another for {least:.0%} of its time only: --per-host stays 1"
    return "within 1%: --per-host may be raised" if all(small) else "not within 1%: --per-host stays 1"


def _differs(key: tuple[str, str, int], one: MatrixRow | None, other: MatrixRow | None) -> bool:
    found = None if one is None or other is None else difference(one, other)
    if one is None or other is None or found is None:
        print(*key, "has no ratio")
        return False
    low, high = (100 * (math.exp(found.value + sign * found.half) - 1) for sign in (-1, 1))
    print(*key, f"{_ratio(one)} at once, {_ratio(other)} one after the other:", end=" ")
    print(f"{100 * (math.exp(found.value) - 1):+.2f}% [{low:+.2f}, {high:+.2f}]")
    print(*key, f"stock: {_speed(one)} at once, {_speed(other)} one after the other")
    return found.small


def _ratio(row: MatrixRow) -> str:
    return f"{row.speedup:.4f}x [{row.speedup_low:.4f}, {row.speedup_high:.4f}]"


def _speed(row: MatrixRow) -> str:
    return "unknown" if row.baseline_decode_tok_s is None else f"{row.baseline_decode_tok_s:.2f} tok/s"


def _workspace(folder: Path, options: Sequence[str]) -> Workspace:
    """Return the workspace of a state, a new one where there is none; SystemExit where it is other options'."""
    asked, root = folder / "options.json", folder / "ws"
    if asked.exists():
        before = json.loads(asked.read_text())
        if before != list(options):
            sys.stderr.write(f"{folder}: was begun with {' '.join(before)}; go on with these, or take another folder\n")
            raise SystemExit(3)
        return Workspace(root)
    place = Workspace(root) if root.exists() else workspaces.create(root)
    asked.write_text(json.dumps(list(options)))
    return place


def main(arguments: Sequence[str]) -> int:
    """Run both, as far as that is left to do, and compare."""
    parser = argparse.ArgumentParser(usage="per_host.py [--state DIR] FAMILY... [options of zmlx fleet run]")
    parser.add_argument("--state", type=Path, metavar="DIR")
    known, options = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = _workspace(known.state or Path(folder), options)
        parallel, serial = (fleet(place, per_host, options) for per_host in (AT_ONCE, IN_TURN))
        print(compared(place, parallel, serial))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
