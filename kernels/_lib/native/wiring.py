"""From the modules of an mlx-lm model to the arguments of the native operations; shared by the native_* kernels."""

from __future__ import annotations

import platform
from types import ModuleType
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable, require_parts

from ..packings import Packing, packing_of, packings
from . import NotBuilt, load, missing

Weights = tuple[mx.array, mx.array, mx.array | None]
FLOATS = (mx.bfloat16, mx.float16, mx.float32)
ON_CPU = packings((1, 2, 3, 4, 5, 6, 8))
"""What MLX multiplies by on the CPU: all of it is served. The kernel.toml of every native kernel says the same."""


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


def weights(module: Any, name: str) -> tuple[Weights, Packing]:
    """Return (w, scales, biases) of a quantised layer, the module's own arrays and no copies, and how it is packed.

    Raises Unavailable, calling the layer `name`, for one that is not quantised and for what MLX itself cannot multiply
    by on the CPU: everything else is served.
    """
    packing = packing_of(module, name)
    if module.get("global_scale") is not None:
        raise Unavailable(f"{name} has a global scale, by which MLX itself multiplies on a GPU only")
    if packing not in ON_CPU:
        raise Unavailable(f"{name} is {packing}, by which MLX itself does not multiply on the CPU")
    arrays: Weights = (module["weight"], module["scales"], module.get("biases"))
    if packing.mode == "affine" and arrays[1].dtype not in FLOATS:
        raise Unavailable(f"{name} has scales of {arrays[1].dtype}")
    return arrays, packing


def arguments(packing: Packing) -> dict[str, Any]:
    """Return group_size, bits and mode as an operation takes them."""
    return packing._asdict()


def expert_weights(block: Any, *names: str) -> tuple[list[Weights], dict[str, Any]]:
    """Return the weights of the named projections of a MoE block's experts, and the operation's other arguments.

    Each projection may be packed in its own way. Raises Unavailable for what `weights` refuses, a sharded model,
    another activation than SwiGLU and its clamped form, and a bias that only some of the projections have.
    """
    require_parts("a native kernel of experts", block, "switch_mlp")
    if getattr(block, "sharding_group", None) is not None:
        raise Unavailable("the model is sharded")
    experts = block.switch_mlp
    modules = [experts[name] for name in names]
    found = [_expert(module, name) for name, module in zip(names, modules, strict=True)]
    asked = {**arguments(found[0][1]), **_biases(modules, found)}
    if "gate_proj" in names:
        asked["clamped"] = _clamped(experts.activation)
    for name, (_, packing) in zip(names[1:], found[1:], strict=True):
        asked[name.replace("_proj", "_packing")] = tuple(packing)
    return [arrays for arrays, _ in found], asked


def _expert(module: Any, name: str) -> tuple[Weights, Packing]:
    if "scales" not in module and module["weight"].dtype != mx.float32:
        dtype = str(module["weight"].dtype).removeprefix("mlx.core.")
        raise Unavailable(f"{name} is unquantised {dtype}; MLX itself gathers float32 only on the CPU")
    return weights(module, name)


def _clamped(activation: Any) -> tuple[float, float] | None:
    """Return (alpha, limit) of the clamped SwiGLU, None for the plain one."""
    from mlx_lm.models import activations
    from mlx_lm.models.switch_layers import SwiGLU

    if type(activation) is SwiGLU:
        return None
    if type(activation) is getattr(activations, "SwigluOAI", None):
        return activation._alpha, activation._limit
    raise Unavailable(f"the experts' activation is {type(activation).__name__}, not SwiGLU")


def _biases(modules: list[Any], found: list[tuple[Weights, Packing]]) -> dict[str, list[mx.array]]:
    """Return the biases of the experts' rows, for all of the projections or for none."""
    biases: list[mx.array] = [module["bias"] for module in modules if "bias" in module]
    if len(biases) not in (0, len(modules)):
        raise Unavailable("some of the experts' projections have a bias and others have none")
    for bias, ((_, scales, _), packing) in zip(biases, found, strict=False):
        if packing.mode == "affine" and bias.dtype != scales.dtype:
            raise Unavailable(f"a bias of the experts is {bias.dtype}, and the scales are {scales.dtype}")
    return {"biases": biases}
