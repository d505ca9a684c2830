"""The audit's part of the worker: logits of stock, of the variant and of a float32 reference on the same tokens.

All three come from one process: the logits of a large vocabulary are too much for a pipe. It holds those of stock and
of the variant, in the model's own type, until the reference's of the same prompt are there. Prompts are processed by
the unpatched model, all but their last token, as decoding does; from there each token is a step of its own, so that the
variant's decode kernels make the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from zmlx_bench.measured.apply import Patch
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.messages import Audited, Forced
from zmlx_bench.measured.worker.distance import trace
from zmlx_bench.measured.worker.pipe import Pipe

_CHUNK = 2048
_TRIED = 4
"""Steps in which the calls of the kernels are counted."""

Arm = Literal["baseline", "variant", "reference"]
Forcing = tuple[str, Sequence[int], Sequence[int]]
"""Prompt's name, its token ids, and the tokens forced after it."""


def run(pipe: Pipe, model: Any, forcings: Sequence[Forcing], patch: Callable[[], Patch]) -> None:
    """Report each prompt's comparison. `patch` applies the variant; the model is in float32 afterwards.

    The reference keeps the packed weights and has scales, biases, other weights and activations in float32.
    Raises Unavailable when a step does not call a kernel of the variant.
    """
    stock = _logits(pipe, "baseline", model, forcings, [_prefilled(model, ids) for _, ids, _ in forcings])
    caches = [_prefilled(model, ids) for _, ids, _ in forcings]
    tried = _prefilled(model, forcings[0][1])
    applied = patch()
    _check_calls(model, tried, applied)
    variant = _logits(pipe, "variant", model, forcings, caches)
    applied.undo()
    model.set_dtype(mx.float32)
    for index, (name, ids, _) in enumerate(forcings):
        (truth,) = _logits(pipe, "reference", model, forcings[index : index + 1], [_prefilled(model, ids)])
        pipe.send(Audited(prompt=name, baseline=trace(stock[index], truth), variant=trace(variant[index], truth)))


def _check_calls(model: Any, cache: Any, applied: Patch) -> None:
    # Counted apart from what is compared: a counted call is not always made as an uncounted one is.
    applied.install(count=True)
    for _ in range(_TRIED):
        applied.calls.clear()
        mx.eval(model(mx.array([[0]]), cache=cache))
        if idle := [site for site in applied.hosts if applied.calls[site] == 0]:
            raise Unavailable(f"the kernel at {', '.join(idle)} was not called for every forced token")
    applied.install(count=False)


def _prefilled(model: Any, ids: Sequence[int]) -> Any:
    cache = make_prompt_cache(model)
    for start in range(0, len(ids) - 1, _CHUNK):
        model(mx.array([ids[start : min(start + _CHUNK, len(ids) - 1)]]), cache=cache)
        mx.eval([layer.state for layer in cache])
    return cache


def _logits(pipe: Pipe, arm: Arm, model: Any, forcings: Sequence[Forcing], caches: Sequence[Any]) -> list[mx.array]:
    found = []
    for (name, ids, forced), cache in zip(forcings, caches, strict=True):
        rows = []
        for token in (ids[-1], *forced[:-1]):
            logits = model(mx.array([[token]]), cache=cache)[0, -1]
            mx.eval(logits)
            rows.append(logits)
        found.append(mx.stack(rows))
        mx.eval(found[-1])
        pipe.send(Forced(arm, name))
    return found
