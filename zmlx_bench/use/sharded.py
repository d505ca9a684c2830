"""Models of which this process holds a part: mlx-lm's `sharded_load` cuts every layer, or the stack of layers.

Promotions are measured with the whole model in one process and say nothing of a part. A variant asked for by name is
applied to a part where that is known to give what the whole would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
from mlx.nn.layers import distributed

from zmlx_bench.measured.api import Host
from zmlx_bench.measured.variant import Variant
from zmlx_bench.use.decide import NotChosen

GROUP = "sharding_group"
"""What mlx-lm calls the group in a block of experts that holds a part of each: its stock call sums over it."""
_CUT = (
    distributed.AllToShardedLinear,
    distributed.ShardedToAllLinear,
    distributed.QuantizedAllToShardedLinear,
    distributed.QuantizedShardedToAllLinear,
)


def part_of(model: Any) -> str | None:
    """Return in words which part of the model this is, None where it is all of it."""
    inner = getattr(model, "model", model)
    stages = getattr(inner, "pipeline_size", 1)
    if stages > 1:
        return f"stage {stages - inner.pipeline_rank} of {stages} of a pipeline"
    if any(isinstance(module, _CUT) or _group(module) is not None for _, module in model.named_modules()):
        return f"one of {mx.distributed.init().size()} parts of every layer"
    return None


def hosts_of_part(hosts: Sequence[Host], variant: Variant) -> list[Host]:
    """Return the hosts as they are in a part: what a block of experts gives is summed over the processes.

    NotChosen where a kernel of the variant works on the stack of layers, which only its stock call passes on from stage
    to stage, and which has sums in it that the kernel does not know.
    """
    for kernel in variant.kernels:
        if any(_is_stack(host) and host.offers(kernel.sites) for host in hosts):
            raise NotChosen(
                f"{variant.name} cannot be applied: {kernel.kernel} works on the whole stack of layers, of which this "
                "process holds a part; choose a variant without it, or start one process"
            )
    return [host if _group(host.module) is None else replace(host, composer=_summed(host)) for host in hosts]


def _group(module: Any) -> Any:
    return getattr(module, GROUP, None)


def _is_stack(host: Host) -> bool:
    return bool(host.whole) or any(len(modules) > 1 for modules in host.places.values())


def _summed(host: Host) -> Callable[[Any, Any], Callable[..., Any]]:
    def composer(_: Any, calls: Any) -> Callable[..., Any]:
        call, group = host.compose(calls), _group(host.module)

        def summed(*args: Any, **kwargs: Any) -> mx.array:
            return mx.distributed.all_sum(call(*args, **kwargs), group=group)

        return summed

    return composer
