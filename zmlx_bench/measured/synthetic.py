"""Builds the published architecture with seeded random weights, quantised as the published checkpoint is.

Layer by layer: each random weight is quantised and freed before the next is drawn, so that peak memory stays
near the final size. Standard deviations are He-like (1/sqrt(fan-in)) times a gain by the weight's name; a family's
`[gains]` were chosen by trial so that greedy text depends on its context and does not fall into a loop.
"""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.families.base import Family

GROUP_SIZE = 64
BITS = 4

DRAWN = ("bias", "sinks")
"""Ends of the names of vectors that are drawn; others are left at what mlx-lm begins with."""

Gains = Mapping[str, float]
Packing = dict[str, Any]
"""What `to_quantized` takes: group_size, bits, and mode where it is not affine."""
Quantise = Callable[[str, nn.Module, dict[str, Any], Gains], nn.Module]
"""quantise(path, module, settings, gains) returns the quantised form of a module, with random weights."""


def quantised(path: str, module: nn.Module, settings: dict[str, Any], gains: Gains) -> nn.Module:
    """Return the quantised form of a module whose weights are drawn from a normal distribution."""
    _fill(path, module, gains)
    made: nn.Module = module.to_quantized(**settings)
    return made


def build(
    family: Family,
    seed: int,
    layers: int | None = None,
    gains: Gains | None = None,
    sizes: Mapping[str, Any] | None = None,
    quantise: Quantise = quantised,
) -> nn.Module:
    """Return a loaded model of the published sizes of `family`.

    `seed` makes the weights reproducible for one MLX version and backend; `layers` cuts the decoder short;
    `gains` replaces the family's in trials of other values; `sizes` replaces entries of the published configuration
    where no whole model is wanted; `quantise` makes what is quantised.
    """
    config = {**family.facts["config"], **(sizes or {})}
    if layers is not None:
        config["num_hidden_layers"] = layers
    mx.random.seed(seed)  # some architectures draw vectors as they are made, which are kept
    model = _empty(config)
    mx.random.seed(seed)
    factors: Gains = family.facts.get("gains", {}) if gains is None else gains
    packs = _packing(model, family.facts.get("quantization", {}))
    # Only names are listed: a list of modules would keep every unquantised weight alive to the end.
    for path in sorted(path for path, _ in model.named_modules()):
        module = _at(model, path)
        settings = packs(path, module)
        if settings is None:
            _fill(path, module, factors, _keeps(model))
        else:
            _replace(model, path, quantise(path, module, settings, factors))
    mx.eval(model.parameters())
    mx.clear_cache()
    model.eval()
    return model


def size(family: Family, sizes: Mapping[str, Any] | None = None) -> tuple[int, int]:
    """Return the parameters and the bytes of what `build` would make: no array is ever filled."""
    model = _empty({**family.facts["config"], **(sizes or {})})
    packs, keeps = _packing(model, family.facts.get("quantization", {})), _keeps(model)
    parameters = total = 0
    for path, module in model.named_modules():
        own = {name: value for name, value in module.items() if _is_parameter(name, value)}
        parameters += sum(value.size for value in own.values())
        settings = packs(path, module)
        if settings is not None:
            made = module.to_quantized(**settings)
            beside_weight = [made[name] for name in ("scales", "biases") if made.get(name) is not None]
            # Nothing is cast here: what is floating will be bfloat16.
            total += made["weight"].nbytes + sum(each.size * min(each.dtype.size, 2) for each in beside_weight)
        beside = [name for name in own if settings is None or name != "weight"]
        total += sum(own[name].size * (4 if keeps(f"{path}.{name}") else 2) for name in beside)
    return parameters, total


def _empty(config: Mapping[str, Any]) -> nn.Module:
    architecture = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    # A copy: some architectures change what they are given.
    model: nn.Module = architecture.Model(architecture.ModelArgs.from_dict(copy.deepcopy(dict(config))))
    return model


def _packing(model: nn.Module, declared: Mapping[str, Packing]) -> Callable[[str, Any], Packing | None]:
    """Return packs(path, module) -> how its weights are packed; None where they are not."""
    predicate = getattr(model, "quant_predicate", None) or (lambda _path, _module: True)
    default = declared.get("default", {"group_size": GROUP_SIZE, "bits": BITS})

    def packs(path: str, module: Any) -> Packing | None:
        if not path or not hasattr(module, "to_quantized"):
            return None
        own = next((found for end, found in declared.items() if path.endswith(end)), None)
        if own is not None:
            return dict(own)
        chosen = predicate(path, module)
        return chosen if isinstance(chosen, dict) else dict(default)

    return packs


def _keeps(model: nn.Module) -> Callable[[str], bool]:
    """Return keeps(name) -> whether mlx-lm leaves this parameter in float32."""
    casts = getattr(model, "cast_predicate", None) or (lambda _name: True)
    return lambda name: not casts(name)


def _is_parameter(name: str, value: Any) -> bool:
    return isinstance(value, mx.array) and not name.startswith("_")


def _fill(path: str, module: nn.Module, gains: Gains, keeps: Callable[[str], bool] = lambda _: False) -> None:
    for name, value in module.items():
        if not _is_parameter(name, value):
            continue
        if isinstance(module, nn.RMSNorm):
            module[name] = mx.full(value.shape, gain(f"{path}.{name}", gains), mx.bfloat16)
        elif name == "e_score_correction_bias":
            module[name] = 0.1 * mx.random.normal(value.shape)
        elif value.ndim >= 2:
            scale = gain(f"{path}.{name}", gains) / math.sqrt(value.shape[-1])
            module[name] = (scale * mx.random.normal(value.shape)).astype(mx.bfloat16)
        else:
            drawn = 0.1 * mx.random.normal(value.shape) if name.endswith(DRAWN) else value
            module[name] = drawn if keeps(f"{path}.{name}") else drawn.astype(mx.bfloat16)
        mx.eval(module[name])


def gain(name: str, gains: Gains) -> float:
    """Return the gain of the weight called `name`: of the first entry of `gains` that it ends with, else 1."""
    return next((value for suffix, value in gains.items() if name.endswith(suffix)), 1.0)


def _at(model: nn.Module, path: str) -> Any:
    found: Any = model
    for part in path.split(".") if path else ():
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, last = path.rpartition(".")
    _at(model, parent)[last] = module
    mx.eval(module.parameters())
    # Sizes differ from weight to weight: kept buffers would pile up until the memory is full of them.
    mx.clear_cache()
