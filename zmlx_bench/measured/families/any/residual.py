"""The residual stream of stacks whose form is known: h += self_attn(norm(h)), then h += mlp(norm(h)), and a last norm.

A layer is known by its parts and by what they take: where attention takes more than x, mask and cache, something else
is computed in the stack that a later position may change. For the same reason no stack with windows is taken: a trial
of few tokens would not see them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import mlx.nn as nn
from mlx_lm.models.cache import KVCache, make_prompt_cache

from zmlx_bench.measured.api import Host, Layer, Stack, attention_mask

NORMS = ("input_layernorm", "post_attention_layernorm")
OF_POSITION = ("window", "sliding", "swa", "chunk")
"""What stands in the names of settings by which layers differ with the length of the context."""


def hosts(model: Any) -> Iterator[tuple[str, Host]]:
    """Yield the path and the host of the model's stack of layers, where it is of this form."""
    for path, module in model.named_modules():
        layers = module.get("layers")
        known = isinstance(layers, list) and layers and _is_stack(module, layers)
        if known and all(type(cache) is KVCache for cache in make_prompt_cache(model)):
            yield path, _stack(module, layers).host()


def _stack(module: Any, layers: Sequence[Any]) -> Stack:
    first, second = NORMS
    known = [Layer(each[first], each.self_attn, each[second], each.mlp) for each in layers]
    return Stack(module, known, module.norm, attention_mask(as_array=False))


def _is_stack(module: Any, layers: Sequence[Any]) -> bool:
    return (
        _parts(module) == {"embed_tokens", "layers", "norm"}
        and isinstance(module.norm, nn.RMSNorm)
        and _takes(module)[:2] == ("inputs", "cache")
        and set(_takes(module)) <= {"inputs", "cache", "input_embeddings"}
        and not any(_of_position(each) for each in (module, *layers))
        and all(_is_layer(each) for each in layers)
    )


def _is_layer(layer: Any) -> bool:
    return (
        _parts(layer) == {*NORMS, "self_attn", "mlp"}
        and all(isinstance(layer[name], nn.RMSNorm) for name in NORMS)
        and _takes(layer) == ("x", "mask", "cache")
        and _takes(layer.self_attn) == ("x", "mask", "cache")
        and len(_takes(layer.mlp)) == 1
    )


def _parts(module: Any) -> set[str]:
    return {path.partition(".")[0] for path, _ in module.named_modules() if path}


def _takes(module: Any) -> tuple[str, ...]:
    """Return the names of what a module's call takes; none where it takes anything."""
    found = list(inspect.signature(type(module).__call__).parameters.values())[1:]
    plain = all(each.kind is each.POSITIONAL_OR_KEYWORD for each in found)
    return tuple(each.name for each in found) if plain else ()


def _of_position(module: Any) -> bool:
    own, attention = vars(module).items(), vars(module.get("self_attn") or module).items()
    return any(value and any(word in name for word in OF_POSITION) for name, value in chain(own, attention))
