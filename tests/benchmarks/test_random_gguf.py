"""The GGUF of random weights, read back by the gguf package: names, sizes and values are those of the family."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from zmlx_bench.catalog import families

gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "qwen3": {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "num_experts": 8, "moe_intermediate_size": 96, "vocab_size": 128,
    },
    "glm47": {
        "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "n_routed_experts": 8, "vocab_size": 128,
        "kv_lora_rank": 32, "q_lora_rank": 96, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64, "v_head_dim": 96,
        "intermediate_size": 160, "moe_intermediate_size": 96,
    },
}  # fmt: skip


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("random_gguf")


def config(family: str) -> dict[str, Any]:
    return dict(families.facts(family).config) | SMALL[family]


def shapes(reader: Any) -> dict[str, tuple[int, ...]]:
    """Sizes by name, the inputs last."""
    return {each.name: tuple(int(n) for n in each.shape[::-1]) for each in reader.tensors}


@pytest.mark.parametrize("family", SMALL)
def test_the_weights_are_as_many_as_mlxs(writer: ModuleType, family: str, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer.write(path, config(family))
    found = shapes(gguf.GGUFReader(path))
    assert sum(math.prod(shape) for shape in found.values()) == parameters(config(family))


def parameters(sizes: dict[str, Any]) -> int:
    """Count the weights of mlx-lm's model of these sizes, none of which is evaluated."""
    from mlx.utils import tree_flatten

    architecture = importlib.import_module(f"mlx_lm.models.{sizes['model_type']}")
    model = architecture.Model(architecture.ModelArgs.from_dict(sizes))
    return sum(each.size for _, each in tree_flatten(model.parameters()))


def test_a_layers_weights_have_llama_cpps_names_and_sizes(writer: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer.write(path, config("qwen3"))
    reader = gguf.GGUFReader(path)
    found = shapes(reader)
    assert found["blk.1.ffn_down_exps.weight"] == (8, 64, 96)
    assert found["blk.1.attn_q.weight"] == (128, 64)
    assert found["blk.1.attn_k.weight"] == (64, 64)
    assert found["token_embd.weight"] == found["output.weight"] == (128, 64)
    kinds = {each.name: each.tensor_type.name for each in reader.tensors}
    assert kinds["blk.0.attn_output.weight"] == kinds["blk.0.ffn_up_exps.weight"] == "Q4_0"
    assert kinds["blk.0.ffn_gate_inp.weight"] == kinds["blk.0.attn_q_norm.weight"] == "F32"


@pytest.mark.parametrize(("family", "architecture"), [("qwen3", "qwen3moe"), ("glm47", "deepseek2")])
def test_every_name_is_one_that_llama_cpp_has_for_the_architecture(
    writer: ModuleType, family: str, architecture: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.gguf"
    writer.write(path, config(family))
    (number,) = (key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    known = {gguf.TENSOR_NAMES[each] for each in gguf.MODEL_TENSORS[number]}
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.architecture"].contents() == architecture
    layers = config(family)["num_hidden_layers"]
    assert reader.fields[f"{architecture}.block_count"].contents() == layers
    given = {each.name.rpartition(".")[0] for each in reader.tensors}
    assert given <= {name.format(bid=i) for name in known for i in range(layers)}


def test_blocks_are_centred_weights_of_the_deviation_that_keeps_a_sum_near_one(writer: ModuleType) -> None:
    packed = writer.blocks(np.random.default_rng(1), (256, 1024))
    assert packed.shape == (256, 1024 // 32 * 18)
    weights = gguf.dequantize(packed, gguf.GGMLQuantizationType.Q4_0)
    assert weights.shape == (256, 1024)
    assert abs(float(weights.std()) * 32 - 1) < 0.01
    # A nibble's middle is 7.5 and 8 stands for 0.
    assert abs(float(weights.mean())) < 0.2 / 32


def test_what_is_no_whole_block_is_refused(writer: ModuleType) -> None:
    with pytest.raises(ValueError, match="48 inputs are no whole blocks of 32"):
        writer.blocks(np.random.default_rng(1), (4, 48))


def test_another_architecture_is_refused_and_leaves_nothing(writer: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"llama has no form in llama.cpp here; known: glm4_moe_lite, qwen3_moe"):
        writer.write(tmp_path / "a.gguf", config("qwen3") | {"model_type": "llama"})
    with pytest.raises(ValueError, match="no whole blocks"):
        writer.write(tmp_path / "a.gguf", config("qwen3") | {"moe_intermediate_size": 100})
    assert list(tmp_path.iterdir()) == []
