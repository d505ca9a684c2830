"""Each packaged family without a trained tiny checkpoint, as a small random model in this process."""

from __future__ import annotations

from functools import cache
from typing import Any

import mlx.core as mx

from tests.families import family as family_of
from tests.tiny import Tiny
from zmlx_bench.catalog import families
from zmlx_bench.measured import synthetic

_COMMON = {"vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 4}
_HYBRID = {
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 32, "linear_value_head_dim": 32, "num_experts": 16,
    "num_experts_per_tok": 4, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64,
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {
    "gpt_oss": {
        "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "num_local_experts": 8, "sliding_window": 8,
    },
    "qwen3_5_moe": _HYBRID,
    "qwen3_dense": {"intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64},
    "deepseek_v3": {
        "intermediate_size": 128, "moe_intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2,
        "n_routed_experts": 16, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 4, "kv_lora_rank": 64,
        "q_lora_rank": 64, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64, "v_head_dim": 64, "first_k_dense_replace": 1,
    },
    "lfm2_moe": {
        "intermediate_size": 128, "moe_intermediate_size": 64, "num_dense_layers": 1, "num_experts": 8,
        "num_experts_per_tok": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "full_attn_idxs": [1, 3],
    },
    "minimax": {
        "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "rotary_dim": 32,
        "num_local_experts": 16, "num_experts_per_tok": 4,
    },
    "gemma4_text": {
        "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "num_global_key_value_heads": 1,
        "head_dim": 64, "global_head_dim": 128, "num_experts": 8, "top_k_experts": 4, "moe_intermediate_size": 64,
        "sliding_window": 8, "sliding_window_pattern": 2,
    },
    "qwen3_next": {**_HYBRID, "intermediate_size": 64},
}  # fmt: skip
NAMES = sorted(name for name in families.names() if families.known(name).tiny is None)


def sizes_of(name: str) -> dict[str, Any]:
    """What replaces entries of the published configuration."""
    return {**_COMMON, **SIZES[name]}


@cache
def small(name: str) -> Tiny:
    """The family's architecture with seeded random weights, packed as the published checkpoint is."""
    mx.set_default_device(mx.cpu)
    family = family_of(name)
    model = synthetic.build(family, 7, sizes=sizes_of(name))
    blocks = sum(host.offers(("combine",)) for host in family.hosts(model))
    return Tiny(family, model, len(model.layers), blocks)
