"""What a GPU kernel is bound to is looked at before a launch is planned: another architecture gets a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests.kernels import gpu
from zmlx_bench.measured.api import BindRequest, Unavailable, require_kind

ASKED: dict[str, Callable[[Any], Any]] = {
    "qk_norm_rope": lambda module: gpu.module("qk_norm_rope.heads").Heads.of(module, "cuda"),
    "mla_decode": lambda module: gpu.module("mla_decode.kernel").sizes_of(module),
    "mla_norm_rope": lambda module: gpu.module("mla_norm_rope.kernel").front_of(module, "cuda"),
    "mla_attention": lambda module: gpu.module("mla_attention.kernel").after_projection(module, "stock", "cuda", list),
    "moe_router, softmax": lambda module: gpu.module("moe_router.kernel").softmax_router(module, "stock", "cuda", list),
    "moe_router, sigmoid": lambda module: gpu.module("moe_router.kernel").sigmoid_bias_router(module, list),
    "gate_router": lambda module: gpu.module("gate_router.cuda").softmax(module),
    "quantised experts": lambda module: gpu.module("_lib.gpu.moe_block").check_block(module),
    "joined projections": lambda module: gpu.module("qkv_joined.kernel").projections(module),
    "projections_joined": lambda module: gpu.module("projections_joined.kernel").projections(module),
    "decoder_step": lambda module: gpu.module("decoder_step.kernel").decoder_step(module),
}


@pytest.mark.parametrize("kernel", ASKED)
@pytest.mark.parametrize("module", [nn.Linear(4, 4), nn.MultiHeadAttention(8, 2)], ids=["linear", "attention"])
def test_another_module_is_refused_in_a_sentence(kernel: str, module: Any) -> None:
    mx.set_default_device(mx.cpu)
    with pytest.raises(Unavailable, match=r"needs? .*, which \w+ has not|needs a q of low rank"):
        ASKED[kernel](module)


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ({}, "of a kind that the family does not say"),
        ({"router": "sigmoid"}, "serves a router of kind softmax or sigmoid_bias; this model's is of kind sigmoid"),
    ],
)
def test_a_kind_that_is_not_served(kinds: dict[str, str], says: str) -> None:
    request = BindRequest(("router",), "stock", "cuda", kinds)
    with pytest.raises(Unavailable, match=says):
        require_kind("a_router", request, "router", "softmax", "sigmoid_bias")
    known = BindRequest(("router",), "stock", "cuda", {"router": "softmax"})
    assert require_kind("a_router", known, "router", "softmax", "sigmoid_bias") == "softmax"
