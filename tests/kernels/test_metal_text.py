"""The Metal texts under clang: address spaces as MLX passes them, and contraction exactly where a mode has it."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import experts, gpu
from tests.shim.clang import ClangError, llvm

pytestmark = pytest.mark.process

WORDS = gpu.module("_lib.gpu.launch").WORDS["metal"]
KERNELS = ("gather_qmm_swiglu", "gather_qmm_down_combine", "shared_experts")
CONTRACTED = "llvm.fmuladd"


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def launch(kernel: str, mode: str, k: int = 4, tokens: tuple[int, int] = (1, 1)) -> Any:
    """A launch; with k = 4 and one token `inds` and `scores` are short enough for the address space `constant`."""
    plan, bound = gpu.module(f"{kernel}.gpu").plan, gpu.module(f"{kernel}.kernel")
    x, inds = experts.activations("normal", *tokens, 512), experts.routes(tokens, 9, k)
    if kernel == "gather_qmm_swiglu":
        block = experts.block(9, 64, hidden=512)
        return bound.experts(block, lambda *inputs: [plan(mode, *inputs)])(x=x, inds=inds)
    if kernel == "gather_qmm_down_combine":
        block = experts.block(9, 512, hidden=64)
        h, scores = experts.activations("normal", *tokens, k, 512), experts.weights(tokens, k, mx.float32)
        return bound.down_combine(block, lambda *inputs: [plan(mode, *inputs)])(h=h, inds=inds, scores=scores)
    mlp = experts.shared_mlp(64, hidden=512)
    return plan(mode, "applegpu_g16s", x, *bound.weights_of(mlp.gate_proj), *bound.weights_of(mlp.up_proj))


@pytest.mark.parametrize("k", [4, 8])
@pytest.mark.parametrize("mode", ["stock", "fp32", "fp32_no_fma"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_address_spaces_are_right_and_only_the_uncontracted_mode_has_no_contraction(
    kernel: str, mode: str, k: int
) -> None:
    text = llvm(launch(kernel, mode, k), WORDS)
    assert (CONTRACTED in text) is (mode != "fp32_no_fma")


def test_the_loop_of_several_tokens_contracts_as_well() -> None:
    several = launch("shared_experts", "stock", tokens=(3, 1))
    assert several.source.name == "swiglu_wide"
    assert CONTRACTED in llvm(several, WORDS)


@pytest.mark.parametrize("packing", [(64, 8, "affine"), (32, 4, "mxfp4"), (32, 8, "mxfp8"), (16, 4, "nvfp4")])
def test_the_texts_over_packed_weights_compile_too(packing: tuple[int, int, str]) -> None:
    group, bits, mode = packing
    how = gpu.module("_lib.gpu.packed_weights").Form(gpu.module("_lib.packings").Packing(*packing))
    scale = mx.bfloat16 if mode == "affine" else mx.uint8

    def rows(n: int, k: int) -> list[mx.array]:
        return [mx.zeros((9, n, k * bits // 32), mx.uint32), *(mx.zeros((9, n, k // group), scale) for _ in range(2))]

    x, inds = experts.activations("normal", 1, 1, 512), experts.routes((1, 1), 9, 4)
    several = gpu.module("packed_experts.gpu").plan(how, x, inds, *rows(64, 512), *rows(64, 512), *rows(64, 512)[1:])
    h, scores = experts.activations("normal", 1, 1, 4, 512), experts.weights((1, 1), 4, mx.float32)
    for launch in (
        several,
        gpu.module("packed_down_combine.gpu").plan(how, h, inds, scores, *rows(64, 512), rows(64, 512)[1]),
    ):
        assert CONTRACTED in llvm(launch, WORDS)


def test_the_combine_and_the_routers_compile_too() -> None:
    combine, router = gpu.module("moe_combine.gpu"), gpu.module("moe_router.gpu")
    y, scores = experts.activations("normal", 1, 1, 4, 64), experts.weights((1, 1), 4, mx.float32)
    contracted = {mode: CONTRACTED in llvm(combine.plan(mode, y, scores), WORDS) for mode in combine.MODES}
    # `fused` is an operation of its own; everything else is uncontracted by the words.
    assert not any(contracted.values())
    gates, one = mx.zeros((1, 1, 64), mx.float32), mx.ones((1,), mx.float32)
    for launch in (
        router.plan_softmax(gates, 4, True, "metal"),
        router.plan_logits(gates, 4),
        router.plan_sigmoid(gates, gates[0, 0], one, 4, True),
    ):
        assert CONTRACTED not in llvm(launch, WORDS)


def test_a_pointer_into_the_wrong_address_space_is_found() -> None:
    right = launch("gather_qmm_down_combine", "stock")
    with pytest.raises(ClangError, match="address_space"):
        llvm(experts.mutated(right, "h + slot * K + k, values", "y, values"), WORDS)
    # Four scores are `constant`: a pointer of `device` cannot take them, where eight would do.
    text = "const device float* own = scores;\nfloat totals[ROWS];"
    assert llvm(experts.mutated(launch("gather_qmm_down_combine", "stock", 8), "float totals[ROWS];", text), WORDS)
    with pytest.raises(ClangError, match="own"):
        llvm(experts.mutated(right, "float totals[ROWS];", text), WORDS)
