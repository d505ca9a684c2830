"""A bisection for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from zmlx_bench import exit_codes
from zmlx_bench.bisect.outcome import Outcome, outcome
from zmlx_bench.bisect.state import path_of
from zmlx_bench.printable import printable
from zmlx_bench.schema.bisection import Bisection, BisectionStep
from zmlx_bench.workspace import Workspace

LIKE = {
    "good": "like the good end",
    "bad": "like the bad end",
    "undecided": "undecided",
    "skipped": "skipped",
    None: "not finished",
}
"""What is said of a version, in words."""
_WHAT = {"speed": "decode tok/s", "memory": "peak memory"}


def lines(workspace: Workspace, bisection: Bisection) -> Iterator[str]:
    """Yield the lines of `zmlx bisect`: every version in order, then the answer."""
    for at, one in enumerate(bisection.versions):
        step = bisection.ends if at == len(bisection.versions) - 1 else bisection.step(one.version)
        if at == 0:
            said = "the good end"
        elif step is None:
            said = "not asked about"
        elif at == len(bisection.versions) - 1:
            said = f"the bad end{_details(bisection, step)}"
        else:
            said = f"{LIKE[step.said]}{_details(bisection, step)}"
        yield printable(f"{one.version}: {said}")
    for left in bisection.left_out:
        yield printable(f"{left.version}: left out: {left.why}")
    found = outcome(bisection)
    yield printable(answer(bisection, found))
    if found.with_it:
        yield printable(f"with it changed: {_with_it(found)}; this is a change of them all")
    if found.step is not None and found.step.session is not None:
        yield f"capsules: {_capsules(workspace, found.step.session)}"


def answer(bisection: Bisection, found: Outcome) -> str:
    """Return what came out, in one sentence."""
    package, on = bisection.package, bisection.on
    between = f"{package} {found.last_good} and {found.first_bad}"
    if found.kind == "running":
        return "not finished: the same command goes on"
    if found.kind == "same":
        return f"{between} do not differ in {on}"
    if found.kind == "undecided":
        left = f" (undecided: {', '.join(found.undecided)})" if found.undecided else ""
        return f"undecided between {between}{left}"
    skipped = f", past {', '.join(found.skipped)}, which cannot be run" if found.skipped else ""
    what = "" if found.step is None else _details(bisection, found.step)
    return f"{on} changed between {between}{skipped}{what}"


def code(bisection: Bisection) -> int:
    """Return the exit code: 0 found, 1 the ends do not differ, 2 undecided."""
    kinds = {"found": exit_codes.DONE, "same": exit_codes.NO}
    return kinds.get(outcome(bisection).kind, exit_codes.INCONCLUSIVE)


def summary(workspace: Workspace, bisection: Bisection) -> dict[str, Any]:
    """Return the JSON object of `zmlx bisect --json`."""
    found = outcome(bisection)
    told = {name: value for name, value in asdict(found).items() if name != "step"}
    step = None if found.step is None else found.step.model_dump(mode="json")
    return {
        "answer": answer(bisection, found),
        "outcome": {**told, "step": step},
        "bisection": bisection.model_dump(mode="json"),
        "state": path_of(workspace, bisection.bisection).relative_to(workspace.root).as_posix(),
    }


def _details(bisection: Bisection, step: BisectionStep) -> str:
    parts = []
    if step.figure is not None:
        figure = step.figure
        known = figure.low is not None and figure.high is not None
        interval = f" [{figure.low:.3f}, {figure.high:.3f}]" if known else ""
        parts.append(f"{_WHAT.get(bisection.on, bisection.on)} {figure.ratio:.3f}x{interval} of the good end's")
    if step.divergence is not None:
        one = step.divergence
        margin = "" if one.margin is None else f", margin {one.margin:.2g}"
        parts.append(f"first other token {one.token} of prompt {one.prompt}: {one.good} -> {one.bad}{margin}")
    if step.why:
        parts.append(step.why)
    return f": {'; '.join(parts)}" if parts else ""


def _with_it(found: Outcome) -> str:
    return ", ".join(f"{name} {before or 'absent'} -> {after or 'absent'}" for name, before, after in found.with_it)


def _capsules(workspace: Workspace, session: str) -> str:
    return workspace.session(session).relative_to(workspace.root).as_posix()
