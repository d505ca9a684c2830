"""The CUDA sources of the quantised kernels in the shim, against float64; test_on_gpu_matmul.py compares their bits."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, gpu
from tests.kernels.cuda_launch import ERROR, changed, error, run
from tests.kernels.experts import activations, doubles
from tests.shim.run import ShimError

pytestmark = pytest.mark.process

swiglu = gpu.module("gather_qmm_swiglu.cuda")
down = gpu.module("gather_qmm_down_combine.cuda")
whole = gpu.module("gather_qmm_moe.cuda")

EXPERTS, TOP = 6, 4
DTYPES = {"bf16": mx.bfloat16, "fp16": mx.float16}


class Experts:
    """A small MoE block with a shared expert, the inputs of its sites for some tokens, and their exact outputs."""

    def __init__(self, tokens: int, dtype: mx.Dtype, hidden: int, inner: int, top: int = TOP) -> None:
        self.block = experts.block(EXPERTS, inner, hidden=hidden, dtype=dtype)
        self.shared = experts.shared_mlp(inner, hidden=hidden, dtype=dtype)
        self.shape, self.hidden, self.inner, self.dtype = (tokens, 1, top), hidden, inner, dtype
        self.inds = mx.array(np.random.default_rng(3).integers(0, EXPERTS, size=self.shape).astype(np.uint32))
        self.x = activations("normal", tokens, 1, hidden, dtype=dtype)
        self.h = activations("normal", tokens, 1, top, inner, dtype=dtype, seed=1)
        self.scores = experts.weights((tokens, 1), top, mx.float32)

    def packed(self, *names: str, shared: bool = False) -> list[mx.array]:
        of = self.shared if shared else self.block.switch_mlp
        return [part for name in names for part in (of[name].weight, of[name].scales, of[name].biases)]

    def swiglu(self, mode: str) -> Any:
        return swiglu.plan(self.shape, self.hidden, self.inner, self.dtype, mode)

    def run_swiglu(self, launch: Any) -> mx.array:
        return run(launch, self.x, self.inds, *self.packed("gate_proj", "up_proj"))[0]

    def exact_h(self) -> np.ndarray[Any, Any]:
        x, chosen = doubles(self.x), np.array(self.inds)
        rows = [
            [experts.exact_swiglu(x[t, 0], self.block.switch_mlp, int(e))[0] for e in chosen[t, 0]]
            for t in range(self.shape[0])
        ]
        return np.array(rows)[:, None]

    def down(self, mode: str) -> Any:
        return down.plan(self.shape, self.hidden, self.inner, self.dtype, mx.float32, mode)

    def run_down(self, launch: Any) -> mx.array:
        return run(launch, self.h, self.inds, self.scores, *self.packed("down_proj"))[0]

    def exact_out(self) -> np.ndarray[Any, Any]:
        h, scores, chosen = doubles(self.h), doubles(self.scores), np.array(self.inds)
        projection = self.block.switch_mlp.down_proj
        return np.array(
            [
                [sum(scores[t, 0, i] * experts.exact(h[t, 0, i], projection, int(e))[0] for i, e in enumerate(row))]
                for t, (row,) in enumerate(chosen)
            ]
        )


def algorithm(mode: str, tokens: int) -> str:
    return "fp32" if mode != "stock" else "tensor cores" if tokens * TOP >= 8 else "slots"


CASES = [
    ("stock", 1, 2048, "bf16"),
    ("stock", 1, 1152, "fp16"),
    ("stock", 1, 192, "bf16"),  # a row in which some lanes have nothing
    ("stock", 2, 2048, "bf16"),
    ("stock", 2, 768, "fp16"),
    ("fp32", 1, 768, "bf16"),
    ("fp32_no_fma", 2, 1536, "bf16"),
]
cases = pytest.mark.parametrize(("mode", "tokens", "size", "dtype"), CASES)


@cases
def test_gate_up_and_swiglu(mode: str, tokens: int, size: int, dtype: str) -> None:
    case = Experts(tokens, DTYPES[dtype], size, 128)
    assert error(case.run_swiglu(case.swiglu(mode)), case.exact_h()) < ERROR[algorithm(mode, tokens)]


@cases
def test_down_and_combine(mode: str, tokens: int, size: int, dtype: str) -> None:
    case = Experts(tokens, DTYPES[dtype], 128, size)
    assert error(case.run_down(case.down(mode)), case.exact_out()) < ERROR[algorithm(mode, tokens)]


def test_routed_and_shared_experts_together() -> None:
    dtype = mx.bfloat16
    case = Experts(1, dtype, 512, 128)
    first, second = whole.plan(TOP, 512, 128, dtype, mx.float32)
    gates = [*case.packed("gate_proj", "up_proj"), *case.packed("gate_proj", "up_proj", shared=True)]
    (h,) = run(first, case.x, case.inds, *gates)
    shared_h = experts.exact_swiglu(doubles(case.x)[0, 0], case.shared)[0]
    assert error(h, np.concatenate([case.exact_h()[0, 0], shared_h[None]])) < ERROR["slots"]
    downs = [*case.packed("down_proj"), *case.packed("down_proj", shared=True)]
    (out,) = run(second, h, case.inds, case.scores, *downs)
    case.h = h[:TOP][None, None]
    exact = case.exact_out() + experts.exact(doubles(h)[TOP], case.shared.down_proj)[0]
    assert error(out, exact) < ERROR["slots"]


def test_lanes_that_take_no_step_add_what_they_begin_with() -> None:
    case = Experts(1, mx.bfloat16, 192, 128)
    wrong = changed(case.swiglu("stock"), "narrow[i] = P::twice(0);", "narrow[i] = P::twice(0x3f80);")
    assert error(case.run_swiglu(wrong), case.exact_h()) > ERROR["slots"]


PLANTED = {
    "row of weights": ("swiglu", 2, "(first + row) * (K / 2) + piece * 16,", "first * (K / 2) + piece * 16,"),
    "swizzle of the reads": ("swiglu", 2, "const int swizzle = ((row >> 1) & 3) * 16;", "const int swizzle = 0;"),
    "second half of the rows": ("swiglu", 2, "at + 512 + ((piece * 16) ^ swizzle)", "at + ((piece * 16) ^ swizzle)"),
    "scale's group": ("swiglu", 2, "SCALE_ROW + chunk * 4;", "SCALE_ROW + chunk * 2;"),
    "bias for scale": ("swiglu", 2, "scales + SCALE_BYTES)[group]", "scales)[group]"),
    "nibble": ("swiglu", 2, "const int shift = 4 * (lane % 4);", "const int shift = 4 * (lane % 2);"),
    "x out of step": ("swiglu", 2, "(i % 8) / 4] =", "(i % 8) / 4 ^ 1] ="),
    "step left out": ("swiglu", 2, "step % 2 == 0 ? four.x : four.z", "four.x"),
    "next chunk not read": ("swiglu", 2, "next = await(own, x, chunk, lane);", "next = await(own, x, 0, lane);"),
    "expert": ("swiglu", 2, "size_t(inds[slot]) * I + row;", "size_t(inds[0]) * I + row;"),
    "token of the slot": ("swiglu", 2, "x + (slot / TOP) * D", "x"),
    "gate for up": ("swiglu", 2, "swiglu(T(sums[0]), T(sums[2]))", "swiglu(T(sums[2]), T(sums[0]))"),
    "order of the combine": ("down", 2, "products[expert][8 + lane / 4] = T(sums[2]);", ""),
    "score's token": ("down", 2, "scores[token * TOP + e]", "scores[e]"),
    "slot's lane": ("swiglu", 1, "step * (STEP / GROUP) + lane / 4", "step * (STEP / GROUP) + lane / 8"),
    "x of another eight": ("swiglu", 1, "x[step][eight * 4 + i]", "x[step][(eight ^ 1) * 4 + i]"),
    "slots not added": ("swiglu", 1, "sum = __fadd_rn(sum, slots[i]);", "sum = slots[i];"),
    "half of the lanes": (
        "swiglu",
        1,
        "for (int lanes = 16; lanes > 0; lanes /= 2) {",
        "for (int lanes = 8; lanes > 0; lanes /= 2) {",
    ),
    "row of a warp": ("down", 1, "const int own = (warp % WARPS) * ROWS;", "const int own = 0;"),
    "expert of a warp": ("down", 1, "const int expert = warp / WARPS;", "const int expert = warp % TOP;"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_is_found(planted: str) -> None:
    site, tokens, right, wrong = PLANTED[planted]
    case = Experts(tokens, mx.bfloat16, 512 if site == "swiglu" else 128, 128 if site == "swiglu" else 512)
    launch = case.swiglu("stock") if site == "swiglu" else case.down("stock")
    limit = ERROR[algorithm("stock", tokens)]
    try:
        if site == "swiglu":
            found = error(case.run_swiglu(changed(launch, right, wrong)), case.exact_h())
        else:
            found = error(case.run_down(changed(launch, right, wrong)), case.exact_out())
    except ShimError:
        return
    assert found > limit
