"""Conditions for `zmlx screen`: the stock model prefills one context, of which every answer gets a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from zmlx_bench.measured.conditions.asked import Asked
from zmlx_bench.measured.conditions.caches import Before
from zmlx_bench.measured.conditions.decode import Decoding, StepPipe, fill
from zmlx_bench.measured.conditions.run import rehearsed, require
from zmlx_bench.measured.messages import Conditions, Prompt
from zmlx_bench.measured.worker.generate import Stream
from zmlx_bench.measured.worker.pipe import Pipe


def crossed(model: Any, prompts: Sequence[Prompt], conditions: Conditions, pipe: Pipe) -> tuple[Stream, Pipe]:
    """Return what answers the first batch of the conditions, whatever prompt it is given, and where that is told.

    Raises Unavailable where mlx-lm cannot run the model so, and at an answer whose cache is not the one asked for.
    """
    texts = {prompt.id: list(prompt.token_ids) for prompt in prompts}
    batch = [texts[name] for name in conditions.batches[0]]
    asked = Asked(len(batch), conditions.kv_bits, conditions.max_kv_size)
    caching = rehearsed(model, asked, conditions.context, stock=True)
    before = None
    if conditions.context:
        before = Before(fill(model, caching, conditions.context, lambda _: None)[0], None)
    decoding = Decoding(model, caching, before, len(conditions.context), lambda caches: require(caches, asked))
    if asked.batch == 1:
        return decoding.one, pipe

    def steps(_: list[int], tokens: int) -> Iterator[Any]:
        yield from decoding.many(batch, tokens)

    return steps, StepPipe(pipe)
