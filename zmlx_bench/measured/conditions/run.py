"""A job under conditions: rehearse, prefill the context, warm up at its depth, then answer each batch of prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from zmlx_bench.measured.apply import Patch
from zmlx_bench.measured.conditions.asked import Asked, other_cache, unserved
from zmlx_bench.measured.conditions.caches import GROUP_SIZES, Before, Caching, kinds
from zmlx_bench.measured.conditions.decode import Decoding, StepPipe, fill, prefill
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.messages import (
    Caches,
    Conditions,
    Deepened,
    Filling,
    Instructions,
    Prompts,
    Warmed,
    digest,
)
from zmlx_bench.measured.variant import Variant
from zmlx_bench.measured.worker.failing import classify
from zmlx_bench.measured.worker.generate import run_prompt
from zmlx_bench.measured.worker.job import warm_up
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.measured.worker.usage import Usage

REHEARSED = 512
"""Tokens of the context that are prefilled before it is timed, so that what prefills it is compiled."""


def measure(
    told: Instructions,
    conditions: Conditions,
    model: Any,
    pipe: Pipe,
    usage: Usage,
    patched: Callable[[Variant], Patch],
) -> None:
    """Do what the instructions say and report it.

    Raises Unavailable where a kernel does not serve the conditions, where mlx-lm cannot run the model under them, or
    where the cache is not the one asked for.
    """
    texts = {prompt.id: list(prompt.token_ids) for prompt in told.prompts}
    asked = Asked(len(conditions.batches[0]), conditions.kv_bits, conditions.max_kv_size)
    if told.variant is not None and (why := unserved(told.variant.kernels, asked)) is not None:
        raise Unavailable(why)
    patch = None if told.variant is None else patched(told.variant)
    pipe.send(Prompts({name: digest(ids) for name, ids in texts.items()}))
    caching = rehearsed(model, asked, conditions.context, stock=patch is None)
    before = None
    if conditions.context:
        cache, filled = fill(model, caching, conditions.context, lambda tokens: pipe.send(Filling(tokens)))
        pipe.send(filled)
        before = Before(cache, 1 + len(conditions.batches))
        del cache

    seen = _Seen(pipe, asked)
    decoding = Decoding(model, caching, before, len(conditions.context), seen)
    batches = [[texts[name] for name in names] for names in conditions.batches]

    def answering(batch: list[list[int]]) -> Any:
        return decoding.one if asked.batch == 1 else lambda _, tokens: decoding.many(batch, tokens)

    start = time.perf_counter()
    calls = warm_up(answering(batches[0]), batches[0][0], patch)
    pipe.send(Warmed(warm_up_s=time.perf_counter() - start, calls_per_token=calls))
    out = pipe if asked.batch == 1 else StepPipe(pipe)
    for (name, *_), batch in zip(conditions.batches, batches, strict=True):
        margins = told.margins and asked.batch == 1
        run_prompt(out, usage, answering(batch), name, batch[0], told.tokens, prefixes=told.prefixes, margins=margins)
        pipe.send(Deepened(name, decoding.depths()))
    pipe.send(usage.done())


class _Seen:
    """Tells the caches after the first token, where they are those asked for; later ones are held to it too."""

    def __init__(self, pipe: Pipe, asked: Asked) -> None:
        self._pipe, self._asked = pipe, asked
        self._told = False

    def __call__(self, caches: Sequence[Any]) -> None:
        require(caches, self._asked)
        if not self._told:
            self._told = True
            self._pipe.send(Caches(kinds(caches)))


def require(caches: Sequence[Any], asked: Asked) -> None:
    """Raise Unavailable where these are not the caches asked for."""
    if (why := other_cache(kinds(caches), asked)) is not None:
        raise Unavailable(why)


def rehearsed(model: Any, asked: Asked, context: Sequence[int], *, stock: bool) -> Caching:
    """Return how caches are made, once a short answer has come through; what it compiled is no part of any time."""
    for group_size in GROUP_SIZES:
        caching = Caching(asked, group_size)
        try:
            _rehearse(model, caching, context[:REHEARSED])
        except Exception as error:
            if asked.kv_bits is not None and "group size" in str(error) and group_size != GROUP_SIZES[-1]:
                continue
            if stock and classify(error) == "crash":
                with_context = f"--context {len(context)} " if context else ""
                raise Unavailable(
                    f"mlx-lm cannot run this model with {with_context}{asked.words}: {type(error).__name__}: {error}"
                ) from error
            raise
        return caching
    raise AssertionError("unreachable: the last group size either came through or raised")


def _rehearse(model: Any, caching: Caching, context: Sequence[int]) -> None:
    before = None
    if context:
        cache = caching.make(model)
        prefill(model, caching, cache, context, lambda _: None)
        before = Before(cache, 1)
    decoding = Decoding(model, caching, before, len(context), lambda caches: require(caches, caching.asked))
    # Any model has these ids. Of several sequences, each has a length of its own.
    prompts = [list(range(2 + index % 3)) for index in range(caching.asked.batch)]
    answer = decoding.one(prompts[0], 2) if len(prompts) == 1 else decoding.many(prompts, 2)
    for _ in answer:
        pass
