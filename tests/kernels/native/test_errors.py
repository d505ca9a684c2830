"""Wrong arguments are Python exceptions that name the argument; the process lives on."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from .made import quantized

EXPERTS, HIDDEN, INNER = 4, 64, 32
PACKING = {"group_size": 32, "bits": 4}


def arguments() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": mx.ones((2, HIDDEN), mx.bfloat16),
        "gate": quantized(rng, (EXPERTS, INNER), HIDDEN, mx.bfloat16, **PACKING),
        "up": quantized(rng, (EXPERTS, INNER), HIDDEN, mx.bfloat16, **PACKING),
        "indices": mx.zeros((2, 3), mx.uint32),
    }


def swapped(weights: tuple[mx.array, ...], at: int, new: mx.array) -> tuple[mx.array, ...]:
    return tuple(new if i == at else a for i, a in enumerate(weights))


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (lambda a: {"x": a["x"].astype(mx.int32)}, TypeError, "x must be"),
        (lambda a: {"gate": swapped(a["gate"], 1, a["gate"][1].astype(mx.float32))}, TypeError, "up scales must have"),
        (lambda a: {"gate": swapped(a["gate"], 1, a["gate"][1].astype(mx.int32))}, TypeError, "gate scales"),
        (lambda a: {"gate": swapped(a["gate"], 2, None)}, ValueError, "gate biases must be given"),
        (lambda a: {"gate": (*a["gate"][:2], None), "mode": "mxfp4"}, TypeError, "gate scales must be uint8"),
        (lambda _: {"mode": "mxfp4"}, ValueError, "gate biases must be None"),
        (lambda _: {"mode": "mxfp8"}, ValueError, "mxfp8 has 8 bits in groups of 32, not 4"),
        (lambda _: {"mode": "int4"}, ValueError, "mode must be affine"),
        (lambda _: {"up_packing": (32, 7, "affine")}, ValueError, "bits must be"),
        (lambda a: {"biases": [a["x"]]}, ValueError, "biases must be one for each weight, 2"),
        (lambda a: {"biases": [a["x"], a["x"]]}, ValueError, "biases must have shape"),
        (lambda _: {"biases": [mx.zeros((EXPERTS, INNER))] * 2}, TypeError, "biases must be bfloat16"),
        (lambda a: {"x": a["x"][:, :32]}, ValueError, "gate w"),
        (lambda a: {"x": a["x"][:, :48]}, ValueError, "gate: the input"),
        (lambda a: {"x": a["x"][:, :0]}, ValueError, "gate: the input"),
        (lambda _: {"x": mx.array(1.0, mx.bfloat16)}, ValueError, "x must have"),
        (lambda a: {"indices": a["indices"].astype(mx.int32)}, TypeError, "indices must be uint32"),
        (lambda a: {"indices": a["indices"][:1]}, ValueError, "indices must have shape"),
        (lambda _: {"indices": mx.array(1, mx.uint32)}, ValueError, "indices"),
        (lambda a: {"gate": swapped(a["gate"], 0, a["gate"][0].astype(mx.int32))}, TypeError, "gate w"),
        (lambda a: {"gate": swapped(a["gate"], 0, a["gate"][0][0])}, ValueError, "gate w must have 3 dimensions"),
        (lambda a: {"up": swapped(a["up"], 0, a["up"][0][:, :16])}, ValueError, "up "),
        (lambda a: {"up": swapped(a["up"], 1, a["up"][1][:2])}, ValueError, "up scales"),
        (lambda a: {"up": swapped(a["up"], 2, a["up"][2].astype(mx.float16))}, TypeError, "up scales must have"),
        (lambda _: {"bits": 7}, ValueError, "bits"),
        (lambda _: {"group_size": 16}, ValueError, "group_size"),
        (lambda _: {"x": 3}, TypeError, "x: mlx.core.array"),
    ],
)
def test_swiglu_names_the_argument(native: ModuleType, change: Any, error: type[Exception], named: str) -> None:
    given = arguments()
    call = {**given, **PACKING, **change(given)}
    with pytest.raises(error, match=named):
        native.gather_qmm_swiglu(**call)


def test_down_and_whole_name_the_argument(native: ModuleType) -> None:
    given = arguments()
    rng = np.random.default_rng(1)
    down = quantized(rng, (EXPERTS, HIDDEN), INNER, mx.bfloat16, **PACKING)
    scores = mx.ones((2, 3), mx.bfloat16)
    h = mx.ones((2, 3, INNER), mx.bfloat16)
    combine, whole = native.gather_qmm_down_combine, native.moe_gather_qmm_swiglu_downproj_combine
    with pytest.raises(TypeError, match="scores must be bfloat16, float16 or float32"):
        combine(h, down, given["indices"], scores.astype(mx.int32), **PACKING)
    with pytest.raises(ValueError, match="scores must have shape"):
        combine(h, down, given["indices"], scores[:, :2], **PACKING)
    with pytest.raises(ValueError, match="indices must have shape"):
        combine(h, down, given["indices"][:, :2], scores, **PACKING)
    with pytest.raises(ValueError, match="k at least 1"):
        whole(**{**given, "indices": given["indices"][:, :0]}, down=down, scores=scores[:, :0], **PACKING)
    with pytest.raises(ValueError, match="as many experts"):
        whole(**given, down=tuple(a[:2] for a in down), scores=scores, **PACKING)


def test_dense_and_router_name_the_argument(native: ModuleType) -> None:
    rng = np.random.default_rng(2)
    weight = quantized(rng, (3, 8), 64, mx.bfloat16, **PACKING)
    with pytest.raises(ValueError, match=r"x must have shape \(B, H, L, K\) with H = 3"):
        native.quantized_matvec(mx.ones((1, 2, 1, 64), mx.bfloat16), weight, **PACKING)
    gates = mx.ones((1, 8), mx.bfloat16)
    for top_k in (0, 9):
        with pytest.raises(ValueError, match="top_k must be 1 to the number of experts, 8"):
            native.moe_router(gates, top_k, True)
    with pytest.raises(ValueError, match="correction_bias must have shape"):
        native.moe_router(gates, 2, True, correction_bias=mx.zeros((7,)))
    with pytest.raises(ValueError, match="scale needs a correction_bias"):
        native.moe_router(gates, 2, True, scale=2.0)
    with pytest.raises(TypeError, match="gates must be"):
        native.moe_router(gates.astype(mx.int32), 2, True)


def test_an_index_out_of_range_raises_and_the_stream_lives_on(native: ModuleType) -> None:
    given = arguments()
    wrong = native.gather_qmm_swiglu(**{**given, "indices": given["indices"] + EXPERTS}, **PACKING)
    with pytest.raises(RuntimeError, match="indices: 4 is not below the number of experts, 4"):
        mx.eval(wrong)
    right = native.gather_qmm_swiglu(**given, **PACKING)
    mx.eval(right)
    assert right.shape == (2, 3, INNER)


def test_no_tokens_give_no_rows(native: ModuleType) -> None:
    given = arguments()
    empty = {**given, "x": given["x"][:0], "indices": given["indices"][:0]}
    assert np.array(native.gather_qmm_swiglu(**empty, **PACKING).astype(mx.float32)).shape == (0, 3, INNER)
    inds, scores = native.moe_router(mx.zeros((0, 8), mx.float32), 2, True)
    mx.eval(inds, scores)
    assert (inds.shape, scores.shape) == ((0, 2), (0, 2))


def test_streams_and_switches_are_checked(native: ModuleType) -> None:
    given = arguments()
    on_stream = native.gather_qmm_swiglu(**given, **PACKING, stream=mx.new_stream(mx.cpu))
    mx.eval(on_stream)
    assert mx.array_equal(on_stream, native.gather_qmm_swiglu(**given, **PACKING))
    with pytest.raises(ValueError, match="cannot run here"):
        native.set_isa("sse2")
    for n in (0, 17):
        with pytest.raises(ValueError, match="threads must be 1 to 16"):
            native.set_threads(n)
