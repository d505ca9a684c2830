"""From the modules of an mlx-lm model to the arguments of the native operations; shared by the native_* kernels."""

from __future__ import annotations

import platform
from types import ModuleType
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable, require_parts

from . import NotBuilt, load, missing

Weights = tuple[mx.array, mx.array, mx.array]
FLOATS = (mx.bfloat16, mx.float16, mx.float32)


def probe(mode: str, backend: str) -> str | None:
    """Say why the native kernels cannot run here and what to do, or None; every native kernel asks this."""
    del mode, backend
    return missing() or None


def extension() -> ModuleType:
    """Return the extension module; raise Unavailable where it cannot be loaded or where mlx rounds in other places."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise Unavailable(
            f"the native kernels repeat the roundings of mlx on x86-64; on {platform.machine()} mlx has others"
        )
    try:
        return load()
    except NotBuilt as error:
        raise Unavailable(str(error)) from error


def weights(module: Any, name: str) -> Weights:
    """Return (w, scales, biases) of a quantised layer: the module's own arrays, no copies.

    Raises Unavailable for a layer that is not affine-quantised with 4 or 8 bits and groups of 32, 64 or 128.
    """
    if "scales" not in module or module.get("biases") is None or getattr(module, "mode", "affine") != "affine":
        raise Unavailable(f"{name} is not affine-quantised")
    if module.bits not in (4, 8) or module.group_size not in (32, 64, 128):
        raise Unavailable(f"{name} has {module.bits} bits in groups of {module.group_size}: not served")
    arrays: Weights = (module["weight"], module["scales"], module["biases"])
    if arrays[1].dtype not in FLOATS:
        raise Unavailable(f"{name} has scales of {arrays[1].dtype}")
    return arrays


def packing(*modules: Any) -> dict[str, int]:
    """Return group_size and bits, the same in all modules; raise Unavailable where they differ."""
    found = {(module.group_size, module.bits) for module in modules}
    if len(found) != 1:
        raise Unavailable("the projections of an expert are quantised in different ways")
    group_size, bits = found.pop()
    return {"group_size": group_size, "bits": bits}


def expert_weights(block: Any, *names: str) -> tuple[list[Weights], dict[str, int]]:
    """Return the weights of the named projections of a MoE block's experts, and their packing.

    Raises Unavailable for what the operations do not serve: other quantisations, biases, another activation.
    """
    from mlx_lm.models.switch_layers import SwiGLU

    require_parts("a native kernel of experts", block, "switch_mlp")
    if getattr(block, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    experts = block.switch_mlp
    if type(experts.activation) is not SwiGLU:
        raise Unavailable(f"the experts' activation is {type(experts.activation).__name__}, not SwiGLU")
    modules = [experts[name] for name in names]
    for name, module in zip(names, modules, strict=True):
        if "bias" in module:
            raise Unavailable(f"{name} of the experts has a bias")
    return [weights(module, name) for name, module in zip(names, modules, strict=True)], packing(*modules)
