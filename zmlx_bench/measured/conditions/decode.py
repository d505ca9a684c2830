"""mlx-lm's loops under conditions, in the form in which the worker's own loop takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, generate_step, wired_limit
from mlx_lm.generate import generation_stream as stream

from zmlx_bench.measured.conditions.caches import Before, Caching
from zmlx_bench.measured.conditions.depth import Depths
from zmlx_bench.measured.messages import Depth, Event, Filled, digest
from zmlx_bench.measured.worker.pipe import FLUSH_NS, Pipe

Heard = Callable[[Sequence[Any]], None]
"""Told the caches after the first token of all, and after the last one of every prompt."""


def fill(model: Any, caching: Caching, ids: Sequence[int], filling: Callable[[int], None]) -> tuple[list[Any], Filled]:
    """Prefill the context and return its cache; peak memory is counted from here. `filling` is told chunks' ends."""
    cache = caching.make(model)
    depths = Depths()
    mx.clear_cache()
    mx.reset_peak_memory()
    start = time.perf_counter()

    def grown(length: int) -> None:
        depths.grown(length)
        filling(length)

    prefill(model, caching, cache, ids, grown)
    seconds = time.perf_counter() - start
    return cache, Filled(len(ids), digest(ids), seconds, depths.end())


def prefill(model: Any, caching: Caching, cache: list[Any], ids: Sequence[int], grown: Callable[[int], None]) -> None:
    """Take all of `ids` into the cache, by mlx-lm's own loop and in its chunks, each of whose ends `grown` is told."""

    def progress(done: int, total: int) -> None:
        # mlx-lm takes the last token by itself, in the step that would begin an answer.
        if done not in (0, total - 1):
            grown(done)

    with wired_limit(model, [stream]):
        loop = generate_step(
            mx.array(list(ids)),
            model,
            max_tokens=0,
            prompt_cache=cache,
            prompt_progress_callback=progress,
            **caching.options,
        )
        for _ in loop:
            pass


class Decoding:
    """Decodes one batch after the other; a batch of one is mlx-lm's loop for one sequence."""

    def __init__(self, model: Any, caching: Caching, before: Before | None, context: int, heard: Heard) -> None:
        """`before` holds the caches of `context` tokens; None where there are none."""
        self._model, self._caching, self._before = model, caching, before
        self._context, self._heard = context, heard
        self._depths: tuple[Depth, ...] = ()
        self._began = False

    def one(self, prompt: list[int], tokens: int) -> Iterator[tuple[int, mx.array]]:
        """Yield the tokens of one sequence with their log-probabilities."""
        cache = self._cache()
        depths = Depths(self._context + len(prompt))
        with wired_limit(self._model, [stream]):
            loop = generate_step(
                mx.array(prompt), self._model, max_tokens=tokens, prompt_cache=cache, **self._caching.options
            )
            for count, found in enumerate(loop, start=1):
                yield found
                self._first(cache)
                depths.grown(self._context + len(prompt) + count)
            self._depths = depths.end()
        self._heard(cache)

    def many(self, prompts: list[list[int]], tokens: int) -> Iterator[tuple[tuple[int, ...], None]]:
        """Yield the tokens of every sequence at each step, in the order of the prompts."""
        longest = self._context + max(map(len, prompts))
        depths = Depths(longest)
        # One more than is taken: a sequence that ends has its cache copied out, in the time of its last token.
        batch = BatchGenerator(
            self._model,
            max_tokens=tokens + 1,
            completion_batch_size=len(prompts),
            prefill_batch_size=len(prompts),
            max_kv_size=self._caching.asked.max_kv_size,
        )
        try:
            names = batch.insert(prompts, caches=None if self._before is None else [self._cache()] * len(prompts))
            for count in range(1, tokens + 1):
                found = {each.uid: each.token for each in batch.next_generated()}
                if len(found) < len(names):
                    raise RuntimeError(f"mlx-lm began {len(found)} of {len(names)} sequences at once")
                yield tuple(found[name] for name in names), None
                self._first(caches_of(batch))
                depths.grown(longest + count)
            self._depths = depths.end()
            self._heard(caches_of(batch))
        finally:
            batch.close()

    def _first(self, caches: Sequence[Any]) -> None:
        """Tell the caches after the very first token, which none is timed after."""
        if not self._began:
            self._began = True
            self._heard(caches)

    def depths(self) -> tuple[Depth, ...]:
        """Return what the last answer took as it grew."""
        return self._depths

    def _cache(self) -> list[Any]:
        return self._caching.make(self._model) if self._before is None else self._before.take()


def caches_of(batch: BatchGenerator) -> Sequence[Any]:
    """Return the caches of the sequences that are being decoded, for which mlx-lm has no public name."""
    caches: Sequence[Any] = batch._generation_batch.prompt_cache
    return caches


class StepPipe(Pipe):
    """Tells a step of many sequences as one token with those beside it; else the worker's pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._lines: list[bytes] = []
        self._told_ns = 0

    def send(self, event: Event) -> None:
        """Send one event, after the steps before it."""
        self._tell(0)
        self._pipe.send(event)

    def token(self, token: Any, t_ns: int, margin: float | None) -> None:  # noqa: ARG002
        """Send one step: token ids in the order of the sequences. It waits for others as a token does."""
        first, *others = token
        line = b'{"event":"token","id":%d,"t_ns":%d,"others":[%s]}'
        self._lines.append(line % (first, t_ns, b",".join(b"%d" % other for other in others)))
        if t_ns - self._told_ns >= FLUSH_NS:
            self._tell(t_ns)

    def _tell(self, t_ns: int) -> None:
        if self._lines:
            self._pipe.line(b"\n".join(self._lines))
            self._lines.clear()
        self._told_ns = t_ns
