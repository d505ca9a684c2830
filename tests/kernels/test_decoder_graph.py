"""What of the decode graph runs without a GPU: its plan, its text, and that the text compiles where NVRTC is there."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models import qwen3_moe

from tests.kernels import gpu
from tests.kernels.graph import Extension, compile_text

plans = gpu.module("decoder_graph.plan")
embeddings = gpu.module("_lib.graph.embedding")
launches = gpu.module("_lib.graph.launches")
LAYERS = 2


@pytest.fixture(scope="module")
def plan() -> Any:
    """The plan of two layers of the published sizes; no weight is evaluated."""
    sizes = qwen3_moe.ModelArgs(
        model_type="qwen3_moe",
        hidden_size=2048,
        num_hidden_layers=LAYERS,
        intermediate_size=6144,
        num_attention_heads=32,
        num_experts=128,
        num_experts_per_tok=8,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        moe_intermediate_size=768,
        rms_norm_eps=1e-6,
        vocab_size=512,
        num_key_value_heads=4,
        head_dim=128,
        rope_theta=1e6,
        tie_word_embeddings=False,
        max_position_embeddings=40960,
        norm_topk_prob=True,
    )
    model = qwen3_moe.Model(sizes)
    model.set_dtype(mx.bfloat16)
    nn.quantize(
        model,
        64,
        4,
        class_predicate=lambda path, module: (
            hasattr(module, "to_quantized") and ({"group_size": 64, "bits": 8} if path.endswith("mlp.gate") else True)
        ),
    )
    embedding = embeddings.Embedding(model.model.embed_tokens, mx.bfloat16)
    return plans.Plan(model.model, plans.shape_of(model.model), Extension, embedding)


@pytest.mark.parametrize("long", [False, True], ids=["one pass", "two passes"])
def test_a_layer_is_six_launches(plan: Any, long: bool) -> None:
    found = [each.name for each in plan.launches(long=long)]
    assert found == ["begin", *["heads", "attend", "o_proj", "add_norm_gates", "experts", "down_mma"] * LAYERS, "end"]


def test_every_cache_is_written_and_read_in_its_layer_alone(plan: Any) -> None:
    for i, launch in enumerate(plan.launches(long=False)[1:-1]):
        layer = i // 6
        found = {
            each.value.index for each in (*launch.inputs, *launch.outputs) if isinstance(each.value, Extension.Buffer)
        }
        assert found <= {2 * layer, 2 * layer + 1}
        assert bool(found) == (launch.name in ("heads", "attend"))


def test_layers_share_their_kernels(plan: Any) -> None:
    names = [launches.function(each)[0] for each in plan.launches(long=False)]
    # The first layer's add is left out.
    assert names[2:7] == names[8:13]
    assert names[1] != names[7]


def test_the_text_compiles(plan: Any) -> None:
    compile_text(launches.program(plans.HEADERS, [*plan.launches(long=False), *plan.launches(long=True)]))
