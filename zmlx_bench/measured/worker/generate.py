"""Greedy generation with mlx-lm's own loop; reports every token with its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step, wired_limit
from mlx_lm.generate import generation_stream as stream

from zmlx_bench.measured.messages import PromptEnd, PromptStart
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.measured.worker.usage import Usage

Stream = Callable[[list[int], int], Iterator[tuple[int, mx.array]]]


def streamer(model: Any) -> Stream:
    """Return stream(prompt ids, tokens) -> (token id, log-probabilities) pairs.

    It is the loop that mlx-lm's `stream_generate` makes text of. No text is made here: it takes the same time whatever
    the kernels, and a tokenizer takes seconds to load.
    """

    def generate(prompt: list[int], tokens: int) -> Iterator[tuple[int, mx.array]]:
        with wired_limit(model, [stream]):
            yield from generate_step(mx.array(prompt), model, max_tokens=tokens)

    return generate


def run_prompt(
    pipe: Pipe,
    usage: Usage,
    generate: Stream,
    name: str,
    prompt: list[int],
    tokens: int,
    *,
    prefixes: Sequence[int] = (),
    margins: bool = False,
) -> None:
    """Generate `tokens` tokens for one prompt and report them; memory is counted from here.

    At the last token of each of `prefixes` it is told, with that token, what was used until then. That takes a part of
    the time to the token after it, which is no part of the prefix.
    """
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory() / 1e9
    clock = time.perf_counter_ns
    left = iter(prefixes)
    due = next(left, 0)
    pipe.send(PromptStart(prompt=name, prompt_tokens=len(prompt), t_ns=clock(), active_before_gb=before))
    for count, (token, logprobs) in enumerate(generate(prompt, tokens), start=1):
        pipe.token(token, clock(), _margin(logprobs) if margins else None)
        if count == due:
            pipe.send(usage.prefix(count))
            due = next(left, 0)
    pipe.send(PromptEnd(prompt=name, peak_mem_gb=mx.get_peak_memory() / 1e9, cache_gb=mx.get_cache_memory() / 1e9))


def _margin(logprobs: mx.array) -> float:
    top = mx.topk(logprobs.astype(mx.float32), 2)
    mx.eval(top)
    return float(abs(top[0].item() - top[1].item()))
