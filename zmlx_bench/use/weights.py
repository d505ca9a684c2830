"""Whether a loaded model holds the weights of a checkpoint, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_config

LARGEST_COMPARED = 1_000_000
"""Bytes; a larger array is compared by name, shape and dtype alone."""


def difference(model: Any, folder: Path) -> str | None:
    """Say where `model` differs from the checkpoint in `folder`, or None where it does not.

    Compared are the configuration that the model was built from, the names, shapes and dtypes of all parameters,
    and the contents of those of at most 1 MB: every scale and norm of attention is among them, so that adapters,
    fused or not, another quantisation and a fine-tuned copy are told apart without reading the experts again.
    """
    if type(model.args).from_dict(load_config(folder)) != model.args:
        return "it was built from another configuration"
    stored: dict[str, Any] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        arrays: Any = mx.load(str(path))
        stored.update(arrays)
    if hasattr(model, "sanitize"):
        stored = model.sanitize(stored)
    loaded: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    if odd := sorted(stored.keys() ^ loaded.keys()):
        return f"{odd[0]} is {'not in the model' if odd[0] in stored else 'not in the checkpoint'}"
    for name, array in loaded.items():
        expected = stored[name]
        if (array.shape, array.dtype) != (expected.shape, expected.dtype):
            return f"{name} has another shape or dtype"
        if array.nbytes <= LARGEST_COMPARED and not mx.array_equal(array, expected, equal_nan=True).item():
            return f"{name} has other values"
    return None
