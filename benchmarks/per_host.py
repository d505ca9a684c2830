"""Do two sessions on one host disturb each other? The same sessions at once and one after the other, by `zmlx fleet`.

    python benchmarks/per_host.py qwen3 glm47 --checkpoint synthetic --variants qwen_step,glm_fused_gate [...]

Needs a host with two GPUs. Two fleets of one session of each family run in a new workspace, `--local`: first with
`--per-host 2`, then with `--per-host 1`; what else is given goes to `zmlx fleet run`. A line for each variant and
budget: both ratios, and the difference of their logarithms (parallel minus serial) with its 90% interval, from the two
sessions' own intervals: half widths added in squares. `--per-host` may be raised where every interval lies within 1%.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import workspace as workspaces
from zmlx_bench.fleet import journal
from zmlx_bench.ledger import matrix
from zmlx_bench.schema.fleet import Collected
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.workspace import Workspace

ZMLX = (sys.executable, "-c", "from zmlx_bench.cli.main import main; main()")
WITHIN = math.log(1.01)


@dataclass(frozen=True)
class Difference:
    """Parallel minus serial, of ln(ratio)."""

    value: float
    half: float

    @property
    def small(self) -> bool:
        """Whether the interval lies within 1%."""
        return abs(self.value) + self.half <= WITHIN


def difference(parallel: MatrixRow, serial: MatrixRow) -> Difference | None:
    """Return how the two differ; None where one has no ratio."""
    found: list[tuple[float, float]] = []
    for row in (parallel, serial):
        if not row.speedup or not row.speedup_low or not row.speedup_high:
            return None
        found.append((math.log(row.speedup), math.log(row.speedup_high / row.speedup_low) / 2))
    (a, half_a), (b, half_b) = found
    return Difference(a - b, math.hypot(half_a, half_b))


def run(place: Workspace, per_host: int, options: list[str]) -> dict[tuple[str, str, int], MatrixRow]:
    """Run a fleet; return its rows by family, variant and budget."""
    told = [*ZMLX, "fleet", "run", *options, "--local", "--sessions", "1", "--per-host", str(per_host)]
    subprocess.run([*told, "--workspace", str(place.root)], check=True)
    events = journal.read(journal.newest(place).journal)
    mine = {event.session for event in events if isinstance(event, Collected)}
    return {(r.family, r.variant, r.tokens): r for r in matrix.read(place.matrix) if r.session in mine}


def main() -> int:
    """Run both and compare."""
    with tempfile.TemporaryDirectory() as folder:
        place = workspaces.create(Path(folder) / "ws")
        parallel, serial = (run(place, per_host, sys.argv[1:]) for per_host in (2, 1))
    all_small = True
    for key in sorted(parallel.keys() & serial.keys()):
        one, other = parallel[key], serial[key]
        found = difference(one, other)
        if found is None:
            print(*key, "has no ratio")
            continue
        all_small = all_small and found.small
        told = f"{one.speedup:.4f}x at once, {other.speedup:.4f}x one after the other"
        low, high = (100 * (math.exp(found.value + sign * found.half) - 1) for sign in (-1, 1))
        print(*key, f"{told}: {100 * (math.exp(found.value) - 1):+.2f}% [{low:+.2f}, {high:+.2f}]")
    print("within 1%: --per-host may be raised" if all_small else "not within 1%: --per-host stays 1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
