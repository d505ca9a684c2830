"""What did the sessions of this repository's evidence take, and how exactly do they know?

    python benchmarks/verdict_time.py [WORKSPACE] > docs/verdict-time.md

Every finished session of `capsules/` with two blocks or more, the latest first: its blocks (of how many it might have
run, where it stopped when all was decided), the minutes from its start to its end, how much of these was timed
decode, the part that tok/s come from, and by budget the half width of its ratios' 90% intervals, smallest to largest
over its variants. A half width is that of the logarithm, in percent.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from zmlx_bench.files import read_json
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
INTRODUCTION = Path(__file__).with_name("verdict_time.md.in")
HEAD = "| session | model, checkpoint, device | variants | blocks | minutes | timed decode | half width, % |"
RULE = "| --- | --- | ---: | --- | ---: | ---: | --- |"


@dataclass(frozen=True)
class Row:
    """A session."""

    name: str
    model: str
    variants: int
    blocks: int
    most: int | None
    """Blocks of its last look; None without looks."""
    seconds: float
    timed_s: float
    half_widths: dict[int, tuple[float, float]]
    """By budget, smallest and largest; of logarithms."""

    @property
    def line(self) -> str:
        """The row of the table."""
        widths = "; ".join(
            f"{tokens}: " + " to ".join(dict.fromkeys(f"{100 * width:.1f}" for width in ends))
            for tokens, ends in sorted(self.half_widths.items())
        )
        blocks = str(self.blocks) if self.most is None else f"{self.blocks} of at most {self.most}"
        cells = (f"{self.seconds / 60:.1f}", f"{self.timed_s / self.seconds:.0%}", widths)
        return f"| {self.name} | {self.model} | {self.variants} | {blocks} | {' | '.join(cells)} |"


def timed_s(capsules: Iterable[Capsule]) -> float:
    """Return the seconds of decode of all timed processes, each once: what is longest of those that share a process."""
    decode: dict[int, float] = {}
    for capsule in capsules:
        for run in capsule.runs.every:
            seconds = sum(generation.decode_s for generation in run.generations)
            decode[run.job] = max(decode.get(run.job, 0.0), seconds)
    return sum(decode.values())


def row_of(session: Session, capsules: list[Capsule]) -> Row | None:
    """Return a session's row; None where it timed no variant to its end."""
    ratios = [(capsule.tokens, capsule.figures.speedup) for capsule in capsules]
    known = [(tokens, ratio.low, ratio.high) for tokens, ratio in ratios if ratio and ratio.low and ratio.high]
    if session.ended is None or not known:
        return None
    widths: dict[int, list[float]] = {}
    for tokens, low, high in known:
        widths.setdefault(tokens, []).append(math.log(high / low) / 2)
    first, at = capsules[0], datetime.fromisoformat
    return Row(
        name=session.session,
        model=f"{first.family}, {first.checkpoint.label}, {first.machine.device} ({first.machine.backend})",
        variants=len({capsule.variant.name for capsule in capsules}),
        blocks=max(capsule.protocol.blocks for capsule in capsules),
        most=session.plan.looks[-1] if session.plan.looks else None,
        seconds=(at(session.ended) - at(session.started)).total_seconds(),
        timed_s=timed_s(capsules),
        half_widths={tokens: (min(each), max(each)) for tokens, each in widths.items()},
    )


def rows(workspace: Workspace) -> list[Row]:
    """Return all rows, the latest session first."""
    found: list[Row] = []
    for path in sorted(workspace.capsules.glob("*/session.json"), reverse=True):
        session = read_json(path, Session)
        if session.state == "finished":
            capsules = [read_json(path.with_name(reference.file), Capsule) for reference in session.capsules]
            if (row := row_of(session, capsules)) is not None:
                found.append(row)
    return found


def page(workspace: Workspace) -> str:
    """Return the page."""
    lines = [INTRODUCTION.read_text(encoding="utf-8").strip(), "", HEAD, RULE, *(row.line for row in rows(workspace))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(Workspace(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)))
