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

MODULES = {
    "linear": lambda: nn.Linear(512, 256, bias=False),
    "biased": lambda: nn.Linear(512, 256),
    "experts": lambda: SwitchLinear(512, 128, 4, bias=False),
    "biased experts": lambda: SwitchLinear(512, 128, 4),
}
GAINS = {"down_proj.weight": 3.0}
MODES: dict[str, dict[str, Any]] = {
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
    "nvfp4": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
}


def affine(bits: int) -> dict[str, Any]:
    return {"group_size": 64, "bits": bits}


def made(draw: Any, kind: str, settings: dict[str, Any], path: str = "mlp.down_proj", seed: int = 5) -> Any:
    mx.set_default_device(mx.cpu)
    mx.random.seed(seed)
    return draw(path, MODULES[kind](), settings, GAINS)


def dense(module: Any) -> mx.array:
    biases, packing = module.get("biases"), (module.group_size, module.bits, module.mode)
    whole = mx.dequantize(module.weight, module.scales, biases, *packing)
    return whole.astype(mx.float32)


def alike(ours: Any, theirs: Any) -> None:
    """Names, shapes and types are the same, spread and mean of the weights nearly, and of a bias where there is one."""
    for (name, a), (other, b) in zip(tree_flatten(ours.parameters()), tree_flatten(theirs.parameters()), strict=True):
        assert (name, a.shape, a.dtype) == (other, b.shape, b.dtype)
    for found in (ours, theirs):
        whole = dense(found)
        assert math.sqrt((whole**2).mean().item()) == pytest.approx(3 / math.sqrt(512), rel=0.05)
        assert abs(whole.mean().item()) < 0.01 * 3 / math.sqrt(512)
    if ours.get("bias") is not None:
        size = math.sqrt((theirs.bias.astype(mx.float32) ** 2).mean().item())
        assert math.sqrt((ours.bias.astype(mx.float32) ** 2).mean().item()) == pytest.approx(size, rel=0.2)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", MODULES)
def test_they_are_what_a_synthetic_checkpoint_has_in_shape_type_size_and_spread(kind: str, bits: int) -> None:
    ours = made(weights.drawn, kind, affine(bits))
    alike(ours, made(synthetic.quantised, kind, affine(bits)))
    codes = mx.dequantize(ours.weight, mx.ones_like(ours.scales), mx.zeros_like(ours.biases), 64, bits)
    assert (codes.min().item(), codes.max().item()) == (0, 2**bits - 1), "every code occurs"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["linear", "biased experts"])
def test_floats_are_too(kind: str, mode: str) -> None:
    ours = made(weights.drawn, kind, MODES[mode])
    alike(ours, made(synthetic.quantised, kind, MODES[mode]))
    assert len(set(ours.scales.reshape(-1).tolist())) == 2
    unit = mx.full(ours.scales.shape, 0x38 if mode == "nvfp4" else 127, mx.uint8)
    codes = mx.dequantize(ours.weight, unit, None, *MODES[mode].values()).astype(mx.float32)
    largest = 448 if mode == "mxfp8" else 6
    assert (codes.min().item(), codes.max().item()) == (-largest, largest)


def test_a_seed_gives_them_again_and_another_path_or_seed_others() -> None:
    first, again = (dense(made(weights.drawn, "linear", affine(4))) for _ in range(2))
    assert mx.array_equal(first, again)
    assert not mx.array_equal(first, dense(made(weights.drawn, "linear", affine(4), seed=6)))
    other = dense(made(weights.drawn, "linear", affine(4), path="mlp.up_proj"))
    assert math.sqrt((other**2).mean().item()) == pytest.approx(1 / math.sqrt(512), rel=0.05), "no gain has its name"
