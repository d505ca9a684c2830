"""The routed experts and the shared one in two Metal launches: in the shim against MLX's Metal algorithms."""

from __future__ import annotations

import functools
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels import experts, gpu, qmv
from tests.kernels.bf16 import Floats, read
from zmlx_bench.measured.contract import Unavailable

pytestmark = pytest.mark.process

metal: Any = gpu.module("gather_qmm_moe.gpu")
kernel: Any = gpu.module("gather_qmm_moe.kernel")
ROUTED, PLACES, INNER = experts.SHAPES["glm47"]


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def block_of(inner: int, hidden: int, routed: int = 9, dtype: mx.Dtype = mx.bfloat16) -> Any:
    """A MoE block with a shared expert of its experts' size."""
    block = experts.block(routed, inner, hidden=hidden, dtype=dtype)
    block.shared_experts = experts.shared_mlp(inner, hidden=hidden, dtype=dtype, seed=1)
    return block


def moe(block: Any, launches: list[Any] | None = None) -> Any:
    """What bind gives on a Mac, run by the shim; `launches` gets each launch."""
    settle = gpu.settle("metal", launches)
    return metal.moe(block, settle, kernel.one_by_one(block, settle))


def expected(block: Any, x: mx.array, inds: mx.array, scores: mx.array) -> tuple[mx.array, mx.array]:
    """Return h (k + 1, I) and out (1, 1, D) as stock's launches would make them, one after the other."""
    row, chosen, to = read(x).reshape(-1), np.array(inds).reshape(-1), qmv.ROUND[x.dtype]

    def inner(mlp: Any, expert: int | None) -> Floats:
        gate, up = (qmv.qmv(row, layer, expert) for layer in (mlp.gate_proj, mlp.up_proj))
        return qmv.swiglu(gate, up, "stock", x.dtype)

    h = [inner(block.switch_mlp, int(expert)) for expert in chosen] + [inner(block.shared_experts, None)]
    y = np.stack([to(qmv.qmv(h[i], block.switch_mlp.down_proj, int(expert))) for i, expert in enumerate(chosen)])
    routed = to(qmv.combine(y, read(scores).reshape(-1), "stock", qmv.ROUND[scores.dtype]))
    out = to(routed + to(qmv.qmv(h[-1], block.shared_experts.down_proj)))
    return mx.array(np.stack(h)).astype(x.dtype), mx.array(out[None, None]).astype(x.dtype)


def given(
    hidden: int,
    routed: int,
    places: int,
    dtype: mx.Dtype = mx.bfloat16,
    kind: str = "normal",
    scored: mx.Dtype = mx.float32,
) -> tuple[mx.array, mx.array, mx.array]:
    scores = experts.weights((1, 1), places, scored)
    return experts.activations(kind, 1, 1, hidden, dtype=dtype), experts.routes((1, 1), routed, places), scores


def check(block: Any, inputs: tuple[mx.array, mx.array, mx.array]) -> None:
    launches: list[Any] = []
    out = moe(block, launches)(*inputs)
    h, right = expected(block, *inputs)
    assert [launch.source.name for launch in launches] == ["all_experts", "all_downs"]
    assert gpu.same(launches[1].inputs[0], h)
    assert gpu.same(out, right)


@pytest.mark.slow
def test_published_sizes_bit_for_bit() -> None:
    check(block_of(INNER, experts.HIDDEN, ROUTED), given(experts.HIDDEN, ROUTED, PLACES))


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize(("inner", "hidden", "places"), [(192, 512, 4), (512, 192, 1), (256, 320, 8)])
def test_other_sizes(inner: int, hidden: int, places: int, dtype: mx.Dtype) -> None:
    check(block_of(inner, hidden, dtype=dtype), given(hidden, 9, places, dtype))


@pytest.mark.parametrize("kind", ["saturating", "tiny", "zero", "one"])
def test_extreme_values_bit_for_bit(kind: str) -> None:
    check(block_of(192, 512), given(512, 9, 4, kind=kind))


def test_several_tokens_take_the_single_sites_launches() -> None:
    block, launches = block_of(192, 512), []
    x, inds, scores = (
        experts.activations("normal", 2, 1, 512), experts.routes((2, 1), 9, 4), experts.weights((2, 1), 4, mx.float32),
    )  # fmt: skip
    out = moe(block, launches)(x, inds, scores)
    assert [launch.source.name for launch in launches] == ["swiglu", "down_combine", "swiglu"]
    first, second = launches[:2]
    combined = gpu.run(second._replace(inputs=[gpu.run(first, "metal")[0], *second.inputs[1:]]), "metal")[0]
    assert gpu.same(out, combined + kernel.one_by_one(block, gpu.settle("metal"))(x, inds, mx.zeros_like(scores)))


PLANTED = {
    "all_experts": {
        "the routed gate for the shared one": ("(shared ? shared_gate_w : gate_w) + words", "gate_w + words"),
        "the routed up's scales": ("(shared ? shared_up_s : up_s) + groups", "up_s + groups"),
        "no shared expert": ("slot == PLACES", "false"),
        "the last expert shared too": ("slot == PLACES", "slot >= PLACES - 1"),
        "the first expert for all": ("inds[slot]", "inds[0]"),
        "one slot's h": ("h[slot * N + first + row]", "h[first + row]"),
        "gate and up exchanged": ("(g, u);", "(u, g);"),
        "scale for bias": ("shared_gate_b : gate_b", "shared_gate_s : gate_s"),
    },
    "all_downs": {
        "the routed down for the shared one": ("(shared ? shared_down_w : down_w) + words", "down_w + words"),
        "one place's h for all": ("h + place * K + k", "h + k"),
        "products not rounded": ("float(T(total));\n  }", "total;\n  }"),
        "the shared expert weighed too": ("int e = 0; e < PLACES; ++e", "int e = 0; e <= PLACES; ++e"),
        "the sum not rounded before the shared expert": ("T(add_rn(float(T(total)), y", "T(add_rn(total, y"),
        "no shared expert": ("T(add_rn(float(T(total)), y[PLACES * ROWS + lane]))", "T(total)"),
        "no barrier": ("threadgroup_barrier(mem_flags::mem_threadgroup);", ""),
    },
}  # fmt: skip


@functools.cache
def case(name: str, scored: mx.Dtype = mx.float32) -> tuple[Any, list[mx.array]]:
    block, inputs, launches = block_of(192, 512), given(512, 9, 4, scored=scored), []
    moe(block, launches)(*inputs)
    launch = next(each for each in launches if each.source.name == name)
    right = [expected(block, *inputs)[0 if name == "all_experts" else 1]]
    assert gpu.passes(launch, right, "metal")
    return launch, right


@pytest.mark.parametrize(("name", "error"), [(name, error) for name, errors in PLANTED.items() for error in errors])
def test_a_planted_error_is_found(name: str, error: str) -> None:
    launch, right = case(name)
    assert not gpu.passes(experts.mutated(launch, *PLANTED[name][error]), right, "metal")


def test_the_order_of_the_places_shows_where_every_sum_is_rounded() -> None:
    launch, right = case("all_downs", mx.bfloat16)
    wrong = experts.mutated(launch, "int e = 0; e < PLACES; ++e", "int e = PLACES - 1; e >= 0; --e")
    assert not gpu.passes(wrong, right, "metal")


def test_sizes_for_which_mlx_has_another_loop_are_refused() -> None:
    with pytest.raises(Unavailable, match="512 dense rows of 128 weights"):
        moe(block_of(512, 128))
    with pytest.raises(Unavailable, match="27 dense rows of 512 weights"):
        gpu.module("_lib.gpu.metal_qmv").dense_as_gathered(27, 512)
    block = block_of(192, 512)
    block.shared_experts = experts.shared_mlp(64, hidden=512)
    with pytest.raises(Unavailable, match="not of the experts' size"):
        moe(block)


def test_more_experts_a_token_than_mlx_adds_in_order_are_refused() -> None:
    with pytest.raises(Unavailable, match="9 experts a token"):
        moe(block_of(192, 512))(*given(512, 9, 9))
    with pytest.raises(Unavailable, match="9 experts a token"):
        gpu.module("_lib.gpu.moe_block").check_order("stock", "metal", 9)
    gpu.module("_lib.gpu.moe_block").check_order("fp32", "metal", 9)
    gpu.module("_lib.gpu.moe_block").check_order("stock", "cuda", 9)
