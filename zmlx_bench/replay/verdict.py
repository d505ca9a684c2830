"""Whether a replay says the same as the capsule that it replays.

Tokens first: on the same weights, sources, backend and MLX version they must be the same, so another verdict is a
disagreement. Then speed: with d the per-block log speed-ups of either session, the difference of their means has
Welch's interval (Welch 1947, degrees of freedom after Satterthwaite), because two sessions share no blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from zmlx_bench.analysis.decision.statistics import Estimate, biased, difference_interval, estimate
from zmlx_bench.schema.base import Estimator, content_hash
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.policy import Policy

LEVEL = 0.95
"""Coverage of the interval of the difference."""

MARGIN = math.log(1.01)
"""Differences below 1% are within what an arm may be off for a whole session."""

RESOLUTION = math.log(1.05)
"""A replay that could not have seen a difference of 5% says nothing."""

MOST_BLOCKS = 200
"""No replay is told to take more."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same here as where the capsule was measured."""

    field: str
    then: str
    now: str
    decides: bool
    """Whether evidence never crosses it: then nothing can be compared."""

    def __str__(self) -> str:
        return f"{self.field} was {self.then}, here {self.now}"


@dataclass(frozen=True)
class Change:
    """The replay's speed-up over the capsule's, as a ratio, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ReplayVerdict:
    """What a replay says."""

    answer: Literal["agree", "disagree", "not comparable"]
    why: str
    differences: tuple[Difference, ...]
    change: Change | None
    """None where either session has fewer than two pairs of blocks."""


def judge_replay(original: Capsule, replay: Capsule, policy: Policy) -> ReplayVerdict:
    """Compare a capsule with one that was measured to replay it; `policy` says what a measurement must keep."""
    found = tuple(differences(original, replay))
    change = speed_change(_logs(original), _logs(replay), original.protocol.estimator)

    def say(answer: Literal["agree", "disagree", "not comparable"], why: str) -> ReplayVerdict:
        return ReplayVerdict(answer, why, found, change)

    deciding = [difference for difference in found if difference.decides]
    if deciding:
        return say("not comparable", "; ".join(str(difference) for difference in deciding))
    if replay.status == "unavailable":
        return say("not comparable", "the variant is unavailable here")
    if original.status != "ok" or replay.status != "ok":
        same = original.status == replay.status
        return say("agree" if same else "disagree", f"status was {original.status}, here {replay.status}")
    then, now = original.figures.fidelity, replay.figures.fidelity
    if then is None or now is None:
        return say("not comparable", "no tokens were compared in one of the two")
    if False in (then.null_identical, now.null_identical):
        return say("not comparable", "the baseline does not repeat its own tokens in one of the two")
    if then.verdict != now.verdict:
        return say("disagree", f"tokens were {then.verdict}, here {now.verdict}")
    for capsule, when in ((original, "in the capsule"), (replay, "here")):
        if (why := _disturbed(capsule, policy)) is not None:
            return say("not comparable", f"{why} {when}: no speed can be compared")
    if change is None:
        return say("not comparable", "an interval needs two blocks in both")
    tokens = "same tokens as stock's" if now.verdict == "identical" else "tokens that are not stock's"
    blocks = blocks_needed(_logs(original), _logs(replay), original.protocol.estimator)
    return say(*_speed(change, f"{tokens} in both", blocks))


def _disturbed(capsule: Capsule, policy: Policy) -> str | None:
    """Say what leaves a capsule without a speed to compare, as the decision would; None where nothing does."""
    figures = capsule.figures
    if figures.clock_disagreement is not None and figures.clock_disagreement > policy.clock_disagreement:
        return f"the clocks of worker and supervisor differ by up to {figures.clock_disagreement:.2%}"
    if figures.throttled:
        return "the machine throttled"
    if figures.compressed_gb is not None and figures.compressed_gb > policy.resident_slack_gb:
        return f"macOS compressed up to {figures.compressed_gb:.2f} GB more while a process ran"
    null = () if figures.null is None else figures.null.logs
    if biased(estimate(null, capsule.protocol.estimator), policy.bias_level):
        return "two equal arms differ"
    return None


def _speed(
    change: Change, tokens: str, blocks: int | None
) -> tuple[Literal["agree", "disagree", "not comparable"], str]:
    low, high = math.log(change.low), math.log(change.high)
    told = f"the speed-up here is {change.value:.4f} of the capsule's, {LEVEL:.0%} interval {change.low:.4f} to "
    told += f"{change.high:.4f}"
    if not low <= 0 <= high and abs(math.log(change.value)) > MARGIN:
        return "disagree", told
    if max(-low, high) <= RESOLUTION:
        return "agree", f"{tokens}; {told}"
    if blocks is None:
        why = "too wide to tell, however many blocks are measured here; replay a capsule of more"
        return "not comparable", f"{told}: {why}"
    return "not comparable", f"{told}: too wide to tell; a replay of about {blocks} blocks could: --runs {blocks}"


def speed_change(then: Sequence[float], now: Sequence[float], estimator: Estimator) -> Change | None:
    """Return exp(estimate(now) - estimate(then)) with Welch's interval at `LEVEL`; None below two values in either."""
    if len(then) < 2 or len(now) < 2:
        return None
    value, low, high = difference_interval(estimate(then, estimator), estimate(now, estimator), LEVEL)
    return Change(math.exp(value), math.exp(low), math.exp(high))


def blocks_needed(then: Sequence[float], now: Sequence[float], estimator: Estimator) -> int | None:
    """Return how many blocks of a replay, as noisy as `now`, narrow half the interval to `RESOLUTION`.

    `then` and `now` are log speed-ups, two or more each. None where `MOST_BLOCKS` do not: `then` has too few itself.
    """
    old, new = estimate(then, estimator), estimate(now, estimator)
    for blocks in range(2, MOST_BLOCKS + 1):
        more = Estimate(blocks, new.mean, new.sd / math.sqrt(blocks), blocks - 1)
        _, low, high = difference_interval(old, more, LEVEL)
        if high - low <= 2 * RESOLUTION:
            return blocks
    return None


def _logs(capsule: Capsule) -> tuple[float, ...]:
    return capsule.figures.speedup.logs if capsule.figures.speedup is not None else ()


def differences(then: Capsule, now: Capsule) -> Iterator[Difference]:
    """Yield what differs between where and how the two were measured, what decides first."""
    deciding: tuple[tuple[str, object, object], ...] = (
        ("family", then.family, now.family),
        ("checkpoint", then.checkpoint.digest, now.checkpoint.digest),
        ("backend", then.machine.backend, now.machine.backend),
        ("device", then.machine.device, _device(then, now)),
        ("cores", then.machine.cores or now.machine.cores, now.machine.cores or then.machine.cores),
        ("conditions", then.conditions, now.conditions),
        ("mlx", then.software.mlx, now.software.mlx),
        ("mlx_lm", then.software.mlx_lm, now.software.mlx_lm),
        ("tokens", then.tokens, now.tokens),
        ("variant", _what(then), _what(now)),
    )
    for field, before, after in deciding:
        if before != after:
            yield Difference(field, str(before), str(after), True)
    protocol: tuple[tuple[str, object, object], ...] = (
        ("zmlx", then.software.zmlx, now.software.zmlx),
        ("python", then.software.python, now.software.python),
        ("commit", then.software.commit, now.software.commit),
        ("os", then.machine.os, now.machine.os),
        ("blocks", then.protocol.blocks, now.protocol.blocks),
        ("seed", then.protocol.seed, now.protocol.seed),
        ("cooldown_s", then.protocol.cooldown_s, now.protocol.cooldown_s),
        ("cool_at_most_s", then.protocol.cool_at_most_s, now.protocol.cool_at_most_s),
        ("null arm", then.protocol.null_arm, now.protocol.null_arm),
        ("environment", then.protocol.environment, now.protocol.environment),
        ("prompts", then.prompts.sha256[:12], now.prompts.sha256[:12]),
        ("token ids of the prompts", _ids(then) or _ids(now), _ids(now) or _ids(then)),
        ("arms in a block", _arms(then), _arms(now)),
    )
    for field, before, after in protocol:
        if before != after:
            yield Difference(field, _shown(before), _shown(after), False)


def _device(then: Capsule, now: Capsule) -> str:
    """Return the device of `now`, by its bare name where `then` is of a time when that was all of it."""
    bare = then.machine.device
    return bare if then.machine.cores is None and now.machine.device.startswith(f"{bare} (") else now.machine.device


def _what(capsule: Capsule) -> str:
    """Return what identifies a variant: its kernels' sources, its environment and the measured path.

    A capsule from before there were identities tells the bytes of the sources alone.
    """
    variant, identity = capsule.variant, capsule.variant.identity
    known = {k.kernel: identity.kernels[k.kernel] if identity else k.source_sha256 for k in variant.kernels}
    kernels = [f"{k.kernel}.{k.mode}@{known[k.kernel][:12]}" for k in variant.kernels]
    path = [f"path@{identity.path[:12]}"] if identity else []
    if variant.environment is not None:
        path.append(f"environment@{variant.environment.digest[:12]}")
    env = (f"{name}={value}" for name, value in sorted(variant.env.items()))
    return " ".join([variant.name, *kernels, *path, *env])


def _ids(capsule: Capsule) -> str | None:
    """Return the hash of what was prefilled; None for a capsule that does not tell it."""
    return None if capsule.encoded is None else content_hash(capsule.encoded.model_dump(mode="json"))[:12]


def _arms(capsule: Capsule) -> int:
    return len(capsule.protocol.order[0]) if capsule.protocol.order else 0


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={inner}" for name, inner in sorted(value.items())) or "none set"
    return "none" if value is None else str(value)
