"""Kernels take the packings that their kernel.toml declares, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests.kernels import gpu
from tests.kernels.declared import served
from tests.kernels.native.made import PACKINGS
from zmlx_bench.catalog import kernels
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.schema.kernel import KernelDeclaration
from zmlx_bench.workspace import Workspace

four = gpu.module("_lib.gpu.packed").weights_of
many = gpu.module("_lib.gpu.packed_weights").packed
primitive = gpu.module("mlx_gather_qmm_swiglu.kernel")._packed
CHECKS: dict[str, Callable[[Any], Any]] = {
    "gather_qmm_swiglu": four,
    "gather_qmm_down_combine": four,
    "gather_qmm_moe": four,
    "shared_experts": four,
    "many_rows": four,
    "mlx_gather_qmm_swiglu": primitive,
    "packed_experts": lambda layer: many("packed_experts", "cuda", layer),
}


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def layer(packing: dict[str, Any]) -> nn.QuantizedLinear:
    plain = nn.Linear(128, 8, bias=False)
    plain.set_dtype(mx.bfloat16)
    return nn.QuantizedLinear.from_linear(plain, **packing)


@pytest.mark.parametrize("kernel", CHECKS)
def test_a_kernel_takes_what_it_declares(kernel: str) -> None:
    taken = set()
    for packing in PACKINGS:
        with contextlib.suppress(Unavailable):
            CHECKS[kernel](layer(packing))
            taken.add(tuple(packing.values()))
    assert taken == {tuple(each) for each in served(kernel, "cuda")}


@pytest.mark.parametrize("kernel", ["packed_experts", "packed_down_combine", "packed_moe"])
@pytest.mark.parametrize("backend", ["cuda", "metal"])
def test_kernels_of_many_packings_declare_what_they_take(kernel: str, backend: str) -> None:
    assert served(kernel, backend) == gpu.module("_lib.gpu.packed_weights").ON_GPU


def test_what_is_not_served_is_said_in_a_sentence() -> None:
    mixed = (
        layer({"group_size": 32, "bits": 4, "mode": "mxfp4"}),
        layer({"group_size": 64, "bits": 8, "mode": "affine"}),
    )
    scaled = layer({"group_size": 16, "bits": 4, "mode": "nvfp4"})
    scaled.global_scale = mx.ones((1,))
    for layers, says in (
        (mixed, "the projections are packed in 2 ways: affine, 8 bit in groups of 64; mxfp4"),
        ((nn.Linear(8, 8),), "a projection of the experts is not quantised"),
        ((layer({"group_size": 64, "bits": 6, "mode": "affine"}),), "weights are affine, 6 bit in groups of 64, which"),
        ((scaled,), "a global scale of the weights is not served"),
    ):
        with pytest.raises(Unavailable, match=says):
            many("packed_experts", "metal", *layers)


def test_what_another_dtype_needs_stays_with_mlx() -> None:
    stays = gpu.module("_lib.gpu.packed_weights").stays
    affine, floats = SimpleNamespace(scales=mx.zeros(1, mx.bfloat16)), SimpleNamespace(scales=mx.zeros(1, mx.uint8))
    for dtype, of_affine, of_floats in (
        (mx.bfloat16, False, False),
        (mx.float16, True, False),
        (mx.float32, True, True),
    ):
        x = mx.zeros(1, dtype)
        assert (stays(x, affine), stays(x, floats)) == (of_affine, of_floats)


def test_every_kernel_that_names_packings_declares_them(repository: Workspace) -> None:
    """A source that refuses a packing says so in its declaration too."""
    for name, kernel in kernels.load(repository).items():
        texts = [path.read_text() for path in kernel.folder.glob("*.py")]
        asks = any(word in text for text in texts for word in ("weights_of(", '"affine"', "expert_weights(", "packed("))
        declaration: KernelDeclaration = kernel.declaration
        assert declaration.weights or not asks, name
