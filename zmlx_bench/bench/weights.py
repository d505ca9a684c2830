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

from zmlx_bench.measured.synthetic import Gains, gain


def drawn(path: str, module: nn.Module, settings: dict[str, Any], gains: Gains) -> nn.Module:
    """Return the quantised form of a module (`synthetic.Quantise`), its weights of the standard deviation that a
    synthetic checkpoint gives them: codes uniform over their range and around zero, groups of different scales."""
    # Neither this product nor the weights that it is made from are ever evaluated: their shapes are known without.
    made: nn.Module = module.to_quantized(**settings)
    deviation = gain(f"{path}.weight", gains) / math.sqrt(module.weight.shape[-1])
    codes = 2 ** settings["bits"]
    seed: Any = mx.random.randint(0, 2**31 - 1, ()).item()
    random = np.random.default_rng(seed)
    made.weight = mx.array(random.integers(0, 2**32, made.weight.shape, np.uint32))
    # The root of the mean square of a factor from 0.5 to 1.5 is that of 13/12; that of uniform codes, of codes^2/12.
    scale = deviation * math.sqrt(12 / codes**2 * 12 / 13)
    scales = random.uniform(0.5 * scale, 1.5 * scale, made.scales.shape).astype(np.float32)
    made.scales = mx.array(scales).astype(mx.bfloat16)
    made.biases = mx.array(scales * (1 - codes) / 2).astype(mx.bfloat16)
    return made
