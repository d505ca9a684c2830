"""Random weights in the form in which they are multiplied: nothing is quantised.

A `synthetic` checkpoint draws normal weights and quantises them: for one layer and an output projection of the
published sizes that takes a CPU most of a minute. Here codes, scales and biases are drawn instead.
"""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from zmlx_bench.measured.synthetic import Gains, gain

SIZES_OF_4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
"""Of the floats of 4 bits (e2m1), by their code without the sign."""
NAN_OF_8 = 127
"""The code without the sign of the only floats of 8 bits (e4m3) that are no number."""


def drawn(path: str, module: nn.Module, settings: dict[str, Any], gains: Gains) -> nn.Module:
    """Return the quantised form of a module (`synthetic.Quantise`), its weights of the standard deviation that a
    synthetic checkpoint gives them: codes uniform over their range and around zero, groups of different scales."""
    # Neither this product nor the weights that it is made from are ever evaluated: their shapes are known without.
    made: nn.Module = module.to_quantized(**settings)
    deviation = gain(f"{path}.weight", gains) / math.sqrt(module.weight.shape[-1])
    seed: Any = mx.random.randint(0, 2**31 - 1, ()).item()
    random = np.random.default_rng(seed)
    words = random.integers(0, 2**32, made.weight.shape, np.uint32)
    if settings.get("mode", "affine") == "affine":
        _draw_integers(made, settings["bits"], deviation, random)
    else:
        _draw_floats(made, words, settings, deviation, random)
    made.weight = mx.array(words)
    if made.get("bias") is not None:
        made.bias = _bias(f"{path}.bias", made.bias.shape, gains)
    return made


def _draw_integers(made: Any, bits: int, deviation: float, random: np.random.Generator) -> None:
    codes = 2**bits
    # The root of the mean square of a factor from 0.5 to 1.5 is that of 13/12; that of uniform codes, of codes^2/12.
    scale = deviation * math.sqrt(12 / codes**2 * 12 / 13)
    scales = random.uniform(0.5 * scale, 1.5 * scale, made.scales.shape).astype(np.float32)
    made.scales = mx.array(scales).astype(mx.bfloat16)
    made.biases = mx.array(scales * (1 - codes) / 2).astype(mx.bfloat16)


def _draw_floats(
    made: Any,
    words: npt.NDArray[np.uint32],
    settings: dict[str, Any],
    deviation: float,
    random: np.random.Generator,
) -> None:
    """Draw the scales, and take what is no number out of `words`."""
    sizes = SIZES_OF_4 if settings["bits"] == 4 else _sizes_of_8()
    if settings["bits"] == 8:
        codes = words.view(np.uint8)
        codes[(codes & NAN_OF_8) == NAN_OF_8] = 0
    scale = deviation / math.sqrt(np.mean(sizes.astype(np.float64) ** 2))
    # Each group has one of the two scales next to it, so often that their mean square is its square.
    scales = _sizes_of_8().astype(np.float64) if settings["mode"] == "nvfp4" else 2.0 ** (np.arange(255) - 127)
    above = int(np.searchsorted(scales, scale, side="right"))
    low, high = scales[above - 1 : above + 1]
    often = (scale**2 - low**2) / (high**2 - low**2)
    made.scales = mx.array((above - (random.random(made.scales.shape) >= often)).astype(np.uint8))


def _sizes_of_8() -> npt.NDArray[np.float32]:
    """Return every size of e4m3, by its code."""
    return np.array(mx.from_fp8(mx.arange(NAN_OF_8, dtype=mx.uint8), mx.float32))


def _bias(name: str, shape: tuple[int, ...], gains: Gains) -> mx.array:
    """Return what a synthetic checkpoint has there: of one row of a projection, or of one for each expert."""
    size = 0.1 if len(shape) == 1 else gain(name, gains) / math.sqrt(shape[-1])
    return (size * mx.random.normal(shape)).astype(mx.bfloat16)
