"""The shipped tiny checkpoints: small, of the right architecture, lossless tokenizer, text that does not loop."""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.generate import generate_step

pytestmark = pytest.mark.model

PACKAGE = Path(__file__).parents[2] / "zmlx_bench"
FOLDERS = {family: PACKAGE / "checkpoints" / f"tiny_{family}" for family in ("qwen3", "glm47")}
PROMPTS = tomllib.loads((PACKAGE / "data" / "prompts.toml").read_text("utf-8"))["prompt"]
MAX_BYTES = 6_000_000
both = pytest.mark.parametrize("family", sorted(FOLDERS))


@cache
def loaded(family: str) -> tuple[Any, Any]:
    model, tokenizer = mlx_lm.load(str(FOLDERS[family]))[:2]
    return model, tokenizer


def config(family: str) -> dict[str, Any]:
    settings_of: dict[str, Any] = json.loads((FOLDERS[family] / "config.json").read_text())
    return settings_of


def greedy(family: str, question: str, count: int) -> list[int]:
    """`count` greedy tokens of the chat-templated question, end-of-text ignored."""
    model, tokenizer = loaded(family)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
    return [int(token) for token, _ in generate_step(mx.array(ids), model, max_tokens=count)]


def distinct_share(tokens: list[int], n: int = 8) -> float:
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams)


@both
def test_folder_is_at_most_six_megabytes(family: str) -> None:
    assert sum(path.stat().st_size for path in FOLDERS[family].iterdir()) <= MAX_BYTES


def test_qwen3_architecture() -> None:
    found = config("qwen3")
    assert found["model_type"] == "qwen3_moe"
    assert found["num_experts_per_tok"] == 8
    assert found["num_experts"] >= 16
    assert found["norm_topk_prob"] is True
    assert found["num_key_value_heads"] < found["num_attention_heads"]
    assert found["max_position_embeddings"] >= 4096
    model, _ = loaded("qwen3")
    for layer in model.layers:
        assert (layer.mlp.gate.bits, layer.mlp.gate.group_size) == (8, 64)
        assert (layer.mlp.switch_mlp.down_proj.bits, layer.mlp.switch_mlp.down_proj.group_size) == (4, 64)


def test_glm47_architecture() -> None:
    found = config("glm47")
    assert found["model_type"] == "glm4_moe_lite"
    assert (found["num_experts_per_tok"], found["n_shared_experts"], found["first_k_dense_replace"]) == (4, 1, 1)
    assert found["routed_scaling_factor"] == 1.8
    assert found["max_position_embeddings"] >= 4096
    model, _ = loaded("glm47")
    for layer in model.layers[1:]:
        gate = layer.mlp.gate
        assert gate.weight.dtype == mx.bfloat16
        assert gate.e_score_correction_bias.dtype == mx.float32
        assert mx.abs(gate.e_score_correction_bias).max().item() > 0
        assert (layer.mlp.switch_mlp.down_proj.bits, layer.mlp.switch_mlp.down_proj.group_size) == (4, 64)
    assert not hasattr(model.layers[0].mlp, "gate")


@both
def test_everything_unquantised_is_bfloat16(family: str) -> None:
    parameters = dict(tree_flatten(loaded(family)[0].parameters()))
    dtypes = {value.dtype for name, value in parameters.items() if not name.endswith("correction_bias")}
    assert dtypes == {mx.uint32, mx.bfloat16}


@both
@settings(deadline=None)
@given(text=st.text())
def test_tokenizer_is_lossless(family: str, text: str) -> None:
    tokenizer = loaded(family)[1]
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < config(family)["vocab_size"] for i in ids)


@both
def test_chat_template_ends_where_the_answer_begins(family: str) -> None:
    tokenizer = loaded(family)[1]
    chat = [{"role": "user", "content": "Why?"}]
    assert tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) == (
        "<|user|>Why?<|end|><|assistant|>"
    )
    assert tokenizer.eos_token_ids == {config(family)["eos_token_id"]}


@pytest.mark.slow
@both
@pytest.mark.parametrize("prompt", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_greedy_text_does_not_loop(family: str, prompt: int) -> None:
    assert distinct_share(greedy(family, PROMPTS[prompt]["text"], 200)) >= 0.6


@pytest.mark.slow
@both
def test_greedy_text_does_not_loop_in_1024_tokens(family: str) -> None:
    shares = {prompt["id"]: distinct_share(greedy(family, prompt["text"], 1024)) for prompt in PROMPTS}
    assert sum(share >= 0.6 for share in shares.values()) >= 3, shares
    assert shares[PROMPTS[0]["id"]] >= 0.6, shares


@both
def test_card_states_held_out_bits_per_byte(family: str) -> None:
    card = (FOLDERS[family] / "README.md").read_text("utf-8")
    total = re.search(r"\*\*total\*\*\s*\|\s*[\d,]+\s*\|\s*\*\*([\d.]+)\*\*", card)
    assert total is not None
    assert float(total.group(1)) < 2.2
