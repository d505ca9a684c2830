"""Greedy generation with mlx-lm's own loop; reports every token with its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step, stream_generate, wired_limit
from mlx_lm.generate import generation_stream as stream

from zmlx_bench.measured.messages import PromptEnd, PromptStart
from zmlx_bench.measured.worker.pipe import Pipe

Stream = Callable[[list[int], int], Iterator[tuple[int, mx.array]]]


def streamer(model: Any, tokenizer: Any, *, detokenize: bool) -> Stream:
    """Return stream(prompt ids, tokens) -> (token id, log-probabilities) pairs.

    With `detokenize` it is mlx-lm's `stream_generate`, what a user of mlx-lm runs. Without (a synthetic model
    has ids that no tokenizer knows) it is the `generate_step` underneath.
    """

    def with_text(prompt: list[int], tokens: int) -> Iterator[tuple[int, mx.array]]:
        for response in stream_generate(model, tokenizer, prompt, max_tokens=tokens):
            yield response.token, response.logprobs

    def without_text(prompt: list[int], tokens: int) -> Iterator[tuple[int, mx.array]]:
        with wired_limit(model, [stream]):
            yield from generate_step(mx.array(prompt), model, max_tokens=tokens)

    return with_text if detokenize else without_text


def run_prompt(pipe: Pipe, generate: Stream, name: str, prompt: list[int], tokens: int, *, margins: bool) -> None:
    """Generate `tokens` tokens for one prompt and report them; memory is counted from here."""
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory() / 1e9
    clock = time.perf_counter_ns
    pipe.send(PromptStart(prompt=name, prompt_tokens=len(prompt), t_ns=clock(), active_before_gb=before))
    for token, logprobs in generate(prompt, tokens):
        pipe.token(token, clock(), _margin(logprobs) if margins else None)
    pipe.send(PromptEnd(prompt=name, peak_mem_gb=mx.get_peak_memory() / 1e9, cache_gb=mx.get_cache_memory() / 1e9))


def _margin(logprobs: mx.array) -> float:
    top = mx.topk(logprobs.astype(mx.float32), 2)
    mx.eval(top)
    return float(abs(top[0].item() - top[1].item()))
