"""Every architecture of mlx-lm at a tiny size: its configuration from `tiny_models.toml`, random weights, 4 bit."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map
from mlx_lm.utils import save_model

SIZES = tomllib.loads((Path(__file__).parent / "tiny_models.toml").read_text(encoding="utf-8"))
NULL = "null"
BITS, GROUP = 4, 32
GAIN = 2.0
"""Of every matrix over He's: what a greedy answer says depends on its context."""


def architectures() -> list[str]:
    """Return the modules of mlx-lm that are a model: those with a class for its configuration."""
    found = importlib.util.find_spec("mlx_lm")
    assert found is not None
    assert found.origin is not None
    files = sorted((Path(found.origin).parent / "models").glob("*.py"))
    return [path.stem for path in files if re.search(r"^class ModelArgs\b", path.read_text(encoding="utf-8"), re.M)]


def config(name: str, sizes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the tiny configuration of an architecture, with `sizes` in the place of its own."""
    own = {**SIZES["architecture"].get(name, {}), **(sizes or {})}
    whole = {"model_type": name, **SIZES["common"], **own}
    inner = {"model_type": own.get("text_type", name), **SIZES["common"], **own, **own.get("text_config", {})}
    inner.pop("text_config", None)
    return _known({**whole, "text_config": _known(inner)})


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value == NULL else value for name, value in values.items()}


def build(name: str, sizes: Mapping[str, Any] | None = None, dtype: mx.Dtype = mx.float32, seed: int = 0) -> Any:
    """Return the model, loaded as mlx-lm would: random weights of `dtype`, every layer that can be is quantised.

    `sizes` replaces entries of the tiny configuration.
    """
    module = importlib.import_module(f"mlx_lm.models.{name}")
    mx.random.seed(seed)  # some architectures draw vectors as they are made
    model: Any = module.Model(module.ModelArgs.from_dict(config(name, sizes)))
    mx.random.seed(seed)
    model.update(tree_map(lambda array: _drawn(array, dtype), model.parameters()))
    nn.quantize(model, GROUP, BITS, class_predicate=lambda path, part: _packs(model, path, part))
    mx.eval(model.parameters())
    model.eval()
    return model


def _drawn(array: mx.array, dtype: mx.Dtype) -> mx.array:
    if array.ndim < 2 or not mx.issubdtype(array.dtype, mx.floating):
        return array
    return (GAIN / math.sqrt(array.shape[-1]) * mx.random.normal(array.shape)).astype(dtype)


def _packs(model: Any, path: str, part: Any) -> bool | dict[str, Any]:
    packs = getattr(part, "to_quantized", None)
    if packs is None or "mode" not in inspect.signature(packs).parameters or part.weight.shape[-1] % GROUP:
        return False
    predicate = getattr(model, "quant_predicate", None)
    return True if predicate is None else bool(predicate(path, part))


def save(name: str, folder: Path, sizes: Mapping[str, Any] | None = None, dtype: mx.Dtype = mx.float32) -> Any:
    """Write the model and its configuration as a checkpoint, without a tokenizer; return the model."""
    model = build(name, sizes, dtype)
    save_model(folder, model)
    quantization = {"quantization": {"group_size": GROUP, "bits": BITS}}
    (folder / "config.json").write_text(json.dumps({**config(name, sizes), **quantization}), encoding="utf-8")
    return model
