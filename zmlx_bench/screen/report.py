"""What a screening has found, as its answer: at the end, and at any moment before."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from zmlx_bench import __version__
from zmlx_bench.analysis import screen as analysis
from zmlx_bench.analysis.decision.power import blocks_with_looks
from zmlx_bench.analysis.intervals import ratio_of_logs
from zmlx_bench.machine.backend import installed
from zmlx_bench.protocol.looks import AT_MOST, looks_of
from zmlx_bench.schema.base import utc_now
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.screen.request import screen_command, session_command
from zmlx_bench.screen.run import NO_VARIABLES, Process, Screen, Variables, variables
from zmlx_bench.screen.schema import ScreenedProcess, ScreenedVariant, Screening, Surroundings

_ORDER = ("session", "more", "no", None)


def report(screen: Screen) -> Screening:
    """Return what is known now; an unfinished process gives a ratio without an interval where nothing else does."""
    request, checkpoint = screen.request, screen.located.checkpoint
    rows = sorted((_row(screen, name) for name in screen.variants), key=_rank)
    worth = [row for row in rows if row.advice == "session"]
    undecided = [row for row in rows if row.advice == "more"]
    option = screen.located.option
    asked = request
    if request.prompts is None and any(_near(screen, row.variant) for row in worth):
        asked = replace(request, prompts="near")
    return Screening(
        schema_version=1,
        time=utc_now(),
        state="finished" if screen.finished else "interrupted",
        family=request.family,
        checkpoint=checkpoint.label,
        checkpoint_digest=checkpoint.digest,
        machine=screen.machine,
        backend=screen.machine.backend,
        mlx=installed("mlx") or "none",
        mlx_lm=installed("mlx-lm") or "none",
        zmlx=__version__,
        prompt=screen.prompts[0].id if screen.prompts else None,
        tokens=request.tokens,
        conditions=request.of_session.conditions,
        seed=request.seed,
        shared_device=request.share_device,
        processes=request.processes,
        variants=tuple(rows),
        surroundings=tuple(_surroundings(screen, env) for env in screen.sets),
        ran=tuple(_process(found) for found in screen.processes),
        seconds=math.ceil(time.monotonic() - screen.begun),
        session=session_command(asked, option, _names(worth), screen.policy.min_blocks, _at_most(screen, worth))
        if worth
        else None,
        again=screen_command(request, option, _names(undecided), _more(screen, undecided)) if undecided else None,
    )


def _near(screen: Screen, name: str) -> bool:
    return screen.variants[name].fidelity == "near"


def _row(screen: Screen, name: str) -> ScreenedVariant:
    env = screen.variants[name].env
    fallen = screen.fallen.get(name)
    if fallen is not None:
        held = "; declared near, it may: `zmlx run --prompts near` judges it" if _near(screen, name) else ""
        reason = fallen.reason + held if fallen.status == "diverged" else fallen.reason
        return ScreenedVariant(variant=name, env=env, status=fallen.status, reason=reason, matched=fallen.matched)
    surroundings = variables(screen.variants[name])
    gains = analysis.gains_of(_counting(screen, surroundings), name)
    if not gains:
        so_far = _unfinished(screen, surroundings, name)
        if so_far is None:
            return ScreenedVariant(variant=name, env=env, status="waiting")
        ratio = Ratio(value=math.exp(so_far), low=None, high=None, logs=(so_far,), blocks=())
        return ScreenedVariant(variant=name, env=env, status="ok", ratio=ratio, advice="more")
    logs = list(gains.values())
    null = list(analysis.gains_of(_counting(screen, surroundings), analysis.NULL).values())
    return ScreenedVariant(
        variant=name,
        env=env,
        status="ok",
        ratio=ratio_of_logs(logs, list(gains)),
        needed=analysis.processes_needed(logs),
        advice=analysis.advice(logs, null, screen.policy.min_gain),
    )


def _rank(row: ScreenedVariant) -> tuple[int, int, float]:
    failed = ("ok", "waiting", "diverged").index(row.status) if row.status in ("ok", "waiting", "diverged") else 3
    return failed, _ORDER.index(row.advice), -(row.ratio.value if row.ratio is not None else 0.0)


def _surroundings(screen: Screen, env: Variables) -> Surroundings:
    found = _counting(screen, env)
    own, default = _stock(screen, env), _stock(screen, NO_VARIABLES)
    null = analysis.gains_of(found, analysis.NULL)
    return Surroundings(
        env=dict(env),
        decode_tok_s=math.exp(math.fsum(own) / len(own)) if own else None,
        null=ratio_of_logs(list(null.values()), list(null)),
        against_default=analysis.against(default, own) if env else None,
    )


def _process(found: Process) -> ScreenedProcess:
    return ScreenedProcess(
        number=found.number,
        env=dict(found.env),
        order=(analysis.BASELINE, *found.order, analysis.NULL),
        counts=found.counts,
        reason=found.reason if found.counts or found.reason is not None else "it did not come to its end",
        drift=found.drift,
    )


def _counting(screen: Screen, env: Variables) -> dict[int, analysis.Crossover]:
    return {found.number: found.ran.segments for found in screen.processes if found.counts and found.env == env}


def _unfinished(screen: Screen, env: Variables, name: str) -> float | None:
    """Return the gain so far in a process that runs or was interrupted; a drift has not cancelled in it."""
    open_ones = [found for found in screen.processes if found.env == env and found.reason is None and not found.counts]
    return analysis.gain(open_ones[-1].ran.segments, name) if open_ones else None


def _stock(screen: Screen, env: Variables) -> list[float]:
    speeds = (analysis.stock_speed(segments) for segments in _counting(screen, env).values())
    return [speed for speed in speeds if speed is not None]


def _names(rows: Sequence[ScreenedVariant]) -> list[str]:
    return [row.variant for row in rows]


def _at_most(screen: Screen, worth: Sequence[ScreenedVariant]) -> int:
    """Return how many blocks a session of `worth` may take: those of one that names no number, or more where its last
    look would find the policy's planned effect too seldom, with the noise that the stock model had here."""
    scatter = analysis.pair_scatter(_stock(screen, NO_VARIABLES))
    return AT_MOST if scatter is None else max(AT_MOST, blocks_with_looks(scatter, len(worth), screen.policy, looks_of))


def _more(screen: Screen, undecided: Sequence[ScreenedVariant]) -> int:
    """Return how many processes may decide what is undecided: what a half-width of 1% takes, or else twice as many."""
    now = screen.request.processes
    needed = max((row.needed for row in undecided if row.needed is not None), default=now)
    return needed if needed > now else 2 * now
