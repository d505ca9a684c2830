"""Weights that are drawn quantised look like those of a synthetic checkpoint, and cost no quantisation."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import SwitchLinear

from zmlx_bench.bench import weights
from zmlx_bench.measured import synthetic

MODULES = {"linear": lambda: nn.Linear(512, 256, bias=False), "experts": lambda: SwitchLinear(512, 128, 4, bias=False)}
GAINS = {"down_proj.weight": 3.0}


def made(draw: Any, kind: str, bits: int, path: str = "mlp.down_proj", seed: int = 5) -> Any:
    mx.set_default_device(mx.cpu)
    mx.random.seed(seed)
    return draw(path, MODULES[kind](), {"group_size": 64, "bits": bits}, GAINS)


def dense(module: Any) -> mx.array:
    whole = mx.dequantize(module.weight, module.scales, module.biases, module.group_size, module.bits)
    return whole.astype(mx.float32)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", MODULES)
def test_they_are_what_a_synthetic_checkpoint_has_in_shape_type_size_and_spread(kind: str, bits: int) -> None:
    ours, theirs = made(weights.drawn, kind, bits), made(synthetic.quantised, kind, bits)
    for (name, a), (other, b) in zip(tree_flatten(ours.parameters()), tree_flatten(theirs.parameters()), strict=True):
        assert (name, a.shape, a.dtype) == (other, b.shape, b.dtype)
    for found in (ours, theirs):
        whole = dense(found)
        assert math.sqrt((whole**2).mean().item()) == pytest.approx(3 / math.sqrt(512), rel=0.05)
        assert abs(whole.mean().item()) < 0.01 * 3 / math.sqrt(512)
    codes = mx.dequantize(ours.weight, mx.ones_like(ours.scales), mx.zeros_like(ours.biases), 64, bits)
    assert (codes.min().item(), codes.max().item()) == (0, 2**bits - 1), "every code occurs"


def test_a_seed_gives_them_again_and_another_path_or_seed_others() -> None:
    first, again = (dense(made(weights.drawn, "linear", 4)) for _ in range(2))
    assert mx.array_equal(first, again)
    assert not mx.array_equal(first, dense(made(weights.drawn, "linear", 4, seed=6)))
    other = dense(made(weights.drawn, "linear", 4, path="mlp.up_proj"))
    assert math.sqrt((other**2).mean().item()) == pytest.approx(1 / math.sqrt(512), rel=0.05), "no gain has its name"
