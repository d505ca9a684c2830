"""Builds the published architecture with seeded random weights, quantised as the published checkpoint is.

Layer by layer: each random weight is quantised and freed before the next is drawn, so that peak memory stays
near the final size. Standard deviations are He-like (1/sqrt(fan-in)) times a gain by the weight's name; a family's
`[gains]` were chosen by trial so that greedy text depends on its context and does not fall into a loop.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.families.base import Family

GROUP_SIZE = 64
BITS = 4

Gains = Mapping[str, float]
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
    architecture = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    model: nn.Module = architecture.Model(architecture.ModelArgs.from_dict(config))
    mx.random.seed(seed)
    factors: Gains = family.facts.get("gains", {}) if gains is None else gains
    predicate = getattr(model, "quant_predicate", lambda _path, _module: True)
    # Only names are listed: a list of modules would keep every unquantised weight alive to the end.
    for path in sorted(path for path, _ in model.named_modules()):
        module = _at(model, path)
        if path and hasattr(module, "to_quantized"):
            chosen = predicate(path, module)
            settings = chosen if isinstance(chosen, dict) else {"group_size": GROUP_SIZE, "bits": BITS}
            _replace(model, path, quantise(path, module, settings, factors))
        else:
            _fill(path, module, factors)
    mx.eval(model.parameters())
    mx.clear_cache()
    model.eval()
    return model


def _fill(path: str, module: nn.Module, gains: Gains) -> None:
    for name, value in module.items():
        if not isinstance(value, mx.array):
            continue
        if isinstance(module, nn.RMSNorm):
            module[name] = mx.full(value.shape, gain(f"{path}.{name}", gains), mx.bfloat16)
        elif name == "e_score_correction_bias":
            module[name] = 0.1 * mx.random.normal(value.shape)
        elif value.ndim >= 2:
            scale = gain(f"{path}.{name}", gains) / math.sqrt(value.shape[-1])
            module[name] = (scale * mx.random.normal(value.shape)).astype(mx.bfloat16)
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
