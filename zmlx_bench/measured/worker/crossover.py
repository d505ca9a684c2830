"""One process for many arms: load once, then change between the stock model and each variant. For `zmlx screen` alone.

The order is baseline, the variants, null, and then all of it backwards, so that every arm has the same mean position
and a drift that is linear in time cancels. Each segment has a patch, caches and a warm-up of its own, and is timed by
the loop of a session. A variant that is unavailable or whose tokens are not the first segment's is dropped at once.
After any other failure the model is not what it was, so the process ends.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
from mlx.utils import tree_flatten

from zmlx_bench.measured.apply import Patch, apply
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.messages import Event, Instructions
from zmlx_bench.measured.primitives import check_needs
from zmlx_bench.measured.variant import Variant
from zmlx_bench.measured.worker.generate import Stream, run_prompt, streamer
from zmlx_bench.measured.worker.load import load
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.measured.worker.usage import Usage

WARM_UP_TOKENS = 16
BASELINE, NULL = "baseline", "null"


@dataclass(frozen=True)
class Began(Event):
    """A segment begins: the arm is being applied and warmed up."""

    event = "began"
    arm: str


@dataclass(frozen=True)
class Dropped(Event):
    """A variant is not asked again; the model is the unpatched one."""

    event = "dropped"
    arm: str
    status: Literal["diverged", "unavailable"]
    message: str
    matched: int | None = None
    """Tokens before the first that is not the baseline's."""


class LeftTraces(RuntimeError):
    """A variant was undone and the model is not as it was before."""


def cross_over(told: Sequence[Instructions], pipe: Pipe) -> None:
    """Time every arm twice and report it. `told` are the stock model's instructions, then each variant's."""
    stock = told[0]
    family = loading.load(Path(stock.family_folder))
    usage = Usage()
    model, loaded = load(stock, family)
    pipe.send(loaded)
    variants = {each.variant.name: each.variant for each in told if each.variant is not None}
    generate, out = streamer(model), pipe
    if stock.conditions is not None:
        from zmlx_bench.measured.conditions.crossed import crossed

        generate, out = crossed(model, stock.prompts, stock.conditions, pipe)
    segments = _Segments(out, usage, stock, generate)
    state, dropped = _state(model), set[str]()
    order = (BASELINE, *variants, NULL)
    for name in (*order, *reversed(order)):
        if name in dropped:
            continue
        pipe.send(Began(name))
        why_not = segments.run(name, variants.get(name), lambda: family.hosts(model))
        # A patched class is a cycle, which only the collector frees.
        gc.collect()
        mx.clear_cache()
        if _state(model) != state:
            raise LeftTraces(f"{name} was taken out, and the model is not what it was before")
        if why_not is not None:
            dropped.add(name)
            pipe.send(why_not)
    pipe.send(usage.done())


class _Segments:
    """Runs segments on one loaded model and holds their tokens against those of the first."""

    def __init__(self, pipe: Pipe, usage: Usage, told: Instructions, generate: Stream) -> None:
        self._pipe = pipe
        self._usage = usage
        self._told = told
        self._generate = generate
        self._prompt = told.prompts[0]
        self._expected: list[int] = []
        self._counted: set[str] = set()

    def run(self, name: str, variant: Variant | None, hosts: Any) -> Dropped | None:
        """Warm up and time one segment; return why the variant is dropped, if it is. The patch is undone."""
        if variant is None:
            self._warm_up(WARM_UP_TOKENS)
            heard = self._timed(())
            self._expected = self._expected or heard
            return None
        try:
            check_needs(variant)
            patch = apply(variant, hosts(), self._told.backend, Path(self._told.kernels))
        except Unavailable as error:
            return Dropped(name, "unavailable", str(error))
        try:
            if name not in self._counted and (idle := self._idle(patch)):
                return Dropped(name, "unavailable", f"the kernel at {', '.join(idle)} was never called while decoding")
            self._counted.add(name)
            self._warm_up(WARM_UP_TOKENS)
            heard = self._timed(self._expected)
        finally:
            patch.undo()
        matched = next(
            (i for i, pair in enumerate(zip(heard, self._expected, strict=False)) if pair[0] != pair[1]), None
        )
        if matched is None:
            return None
        return Dropped(name, "diverged", f"token {matched + 1} is not the stock model's", matched)

    def _warm_up(self, tokens: int) -> None:
        for _ in self._generate(list(self._prompt.token_ids), tokens):
            pass

    def _idle(self, patch: Patch) -> list[str]:
        """Return the sites that no decoded token calls."""
        patch.install(count=True)
        for index, _ in enumerate(self._generate(list(self._prompt.token_ids), WARM_UP_TOKENS)):
            if index == 0:
                patch.calls.clear()
        idle = [site for site in patch.hosts if patch.calls[site] == 0]
        patch.install(count=False)
        return idle

    def _timed(self, expected: Sequence[int]) -> list[int]:
        """Time one answer, to the first token that is not as expected; return its tokens."""
        heard: list[int] = []

        def generate(prompt: list[int], tokens: int) -> Iterator[tuple[int, mx.array]]:
            for token, logprobs in self._generate(prompt, tokens):
                heard.append(token)
                yield token, logprobs
                if expected and token != expected[len(heard) - 1]:
                    return

        ids = list(self._prompt.token_ids)
        run_prompt(self._pipe, self._usage, generate, self._prompt.id, ids, self._told.tokens)
        mx.synchronize()
        return heard


def _state(model: Any) -> tuple[dict[str, type], dict[str, tuple[Any, Any]]]:
    """Return what a patch may change and undoing it must put back: each module's class, each array's shape and type."""
    classes = {path: type(module) for path, module in model.named_modules()}
    return classes, {path: (tuple(array.shape), array.dtype) for path, array in tree_flatten(model.parameters())}
