"""A GGUF of a family's published shapes with seeded random weights in Q4_0 blocks, for llama.cpp.

    python benchmarks/random_gguf.py qwen3 /scratch/qwen3-random.gguf

Every matrix is Q4_0 (4.5 bits a weight, as MLX's 4 bits in groups of 64 are); the router's gate, norms and biases are
float32, as llama.cpp keeps them. There is no vocabulary: llama-bench draws token numbers. It needs the `gguf` package.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from zmlx_bench.catalog import families

Config = Mapping[str, Any]
BLOCK = 32
"""Weights of a Q4_0 block: a float16 scale and their nibbles, of which 8 stands for 0."""
BLOCK_BYTES = 2 + BLOCK // 2
NIBBLE_DEVIATION = math.sqrt((16**2 - 1) / 12)
"""Of a nibble that is any of 16 values."""


@dataclass(frozen=True)
class Tensor:
    """A weight by its name in llama.cpp; `shape` ends with the inputs, as in MLX."""

    name: str
    shape: tuple[int, ...]
    quantised: bool = True


def qwen3_moe(config: Config) -> Iterator[Tensor]:
    """Return the tensors of llama.cpp's `qwen3moe`."""
    d, size = config["hidden_size"], config["head_dim"]
    hq, hk = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    experts, inner = config["num_experts"], config["moe_intermediate_size"]
    yield from _ends(config)
    for i in range(config["num_hidden_layers"]):
        yield from _norms(i, attn_norm=d, ffn_norm=d, attn_q_norm=size, attn_k_norm=size)
        yield from _weights(i, attn_q=(hq, d), attn_k=(hk, d), attn_v=(hk, d), attn_output=(d, hq))
        yield from _experts(i, experts, d, inner)


def glm4_moe_lite(config: Config) -> Iterator[Tensor]:
    """Return the tensors of llama.cpp's `deepseek2`, which serves GLM-4.7-Flash."""
    d, heads, rank = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    nope, rope, v = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    q_rank, experts, inner = config["q_lora_rank"], config["n_routed_experts"], config["moe_intermediate_size"]
    yield from _ends(config)
    for i in range(config["num_hidden_layers"]):
        yield from _norms(i, attn_norm=d, ffn_norm=d, attn_q_a_norm=q_rank, attn_kv_a_norm=rank)
        yield from _weights(i, attn_q_a=(q_rank, d), attn_q_b=(heads * (nope + rope), q_rank))
        yield from _weights(i, attn_kv_a_mqa=(rank + rope, d), attn_output=(d, heads * v))
        yield from _weights(i, attn_k_b=(heads, rank, nope), attn_v_b=(heads, v, rank))
        if i < config["first_k_dense_replace"]:
            whole = config["intermediate_size"]
            yield from _weights(i, ffn_gate=(whole, d), ffn_up=(whole, d), ffn_down=(d, whole))
            continue
        yield from _experts(i, experts, d, inner)
        yield Tensor(f"blk.{i}.exp_probs_b.bias", (experts,), quantised=False)
        shared = inner * config["n_shared_experts"]
        yield from _weights(i, ffn_gate_shexp=(shared, d), ffn_up_shexp=(shared, d), ffn_down_shexp=(d, shared))


def _ends(config: Config) -> Iterator[Tensor]:
    shape = (config["vocab_size"], config["hidden_size"])
    yield Tensor("token_embd.weight", shape)
    yield Tensor("output.weight", shape)
    yield Tensor("output_norm.weight", shape[1:], quantised=False)


def _norms(layer: int, **sizes: int) -> Iterator[Tensor]:
    for name, size in sizes.items():
        yield Tensor(f"blk.{layer}.{name}.weight", (size,), quantised=False)


def _weights(layer: int, **shapes: tuple[int, ...]) -> Iterator[Tensor]:
    for name, shape in shapes.items():
        yield Tensor(f"blk.{layer}.{name}.weight", shape)


def _experts(layer: int, experts: int, d: int, inner: int) -> Iterator[Tensor]:
    yield Tensor(f"blk.{layer}.ffn_gate_inp.weight", (experts, d), quantised=False)
    yield from _weights(
        layer, ffn_gate_exps=(experts, inner, d), ffn_up_exps=(experts, inner, d), ffn_down_exps=(experts, d, inner)
    )


def _describe_common(writer: gguf.GGUFWriter, config: Config) -> None:
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)


def _describe_qwen3_moe(writer: gguf.GGUFWriter, config: Config) -> None:
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_expert_count(config["num_experts"])


def _describe_glm4_moe_lite(writer: gguf.GGUFWriter, config: Config) -> None:
    rank, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
    # The latent is one head of keys, which is the values too.
    writer.add_head_count_kv(1)
    writer.add_key_length(rank + rope)
    writer.add_value_length(rank)
    writer.add_key_length_mla(config["qk_nope_head_dim"] + rope)
    writer.add_value_length_mla(config["v_head_dim"])
    writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(rank)
    writer.add_rope_dimension_count(rope)
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)


@dataclass(frozen=True)
class Form:
    """What an architecture of mlx-lm is in llama.cpp."""

    name: str
    tensors: Callable[[Config], Iterator[Tensor]]
    describe: Callable[[gguf.GGUFWriter, Config], None]


FORMS = {
    "qwen3_moe": Form("qwen3moe", qwen3_moe, _describe_qwen3_moe),
    "glm4_moe_lite": Form("deepseek2", glm4_moe_lite, _describe_glm4_moe_lite),
}


def blocks(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return random Q4_0 blocks, uint8 (*rows, inputs // 32 * 18), of weights with deviation 1/sqrt(inputs)."""
    *rows, inputs = shape
    if inputs % BLOCK:
        raise ValueError(f"{inputs} inputs are no whole blocks of {BLOCK}")
    found = np.empty((*rows, inputs // BLOCK, BLOCK_BYTES), np.uint8)
    found[..., 2:] = rng.integers(0, 256, (*rows, inputs // BLOCK, BLOCK // 2), np.uint8)
    scale = np.float16(1 / (NIBBLE_DEVIATION * math.sqrt(inputs)))
    found[..., :2] = np.frombuffer(scale.astype("<f2").tobytes(), np.uint8)
    return found.reshape(*rows, -1)


def _values(rng: np.random.Generator, tensor: Tensor) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    if tensor.quantised:
        return blocks(rng, tensor.shape)
    if tensor.name.endswith("norm.weight"):
        return np.ones(tensor.shape, np.float32)
    drawn = rng.standard_normal(tensor.shape, np.float32)
    return drawn / np.float32(math.sqrt(tensor.shape[-1]))


def write(path: Path, config: Config, seed: int = 0) -> None:
    """Write the file, one tensor in memory at a time; ValueError for an architecture that has no form here."""
    form = FORMS.get(config["model_type"])
    if form is None:
        raise ValueError(f"{config['model_type']} has no form in llama.cpp here; known: {', '.join(sorted(FORMS))}")
    tensors = list(form.tensors(config))
    # A file under its name is whole.
    unfinished = path.with_name(f"{path.name}.part")
    writer = gguf.GGUFWriter(unfinished, form.name)
    try:
        _describe_common(writer, config)
        form.describe(writer, config)
        for each in tensors:
            _announce(writer, each)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        rng = np.random.default_rng(seed)
        for each in tensors:
            writer.write_tensor_data(_values(rng, each))
    except BaseException:
        writer.close()
        unfinished.unlink(missing_ok=True)
        raise
    writer.close()
    unfinished.replace(path)


def _announce(writer: gguf.GGUFWriter, tensor: Tensor) -> None:
    if tensor.quantised:
        *rows, inputs = tensor.shape
        shape, kind = (*rows, inputs // BLOCK * BLOCK_BYTES), gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), math.prod(shape), kind)
    else:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), 4 * math.prod(tensor.shape))


def config_of(family: str, layers: int | None) -> dict[str, Any]:
    """Return the published sizes of a family, with fewer layers where asked."""
    config = dict(families.facts(family).config)
    return config if layers is None else config | {"num_hidden_layers": layers}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family", choices=families.names())
    parser.add_argument("path", type=Path)
    parser.add_argument("--layers", type=int, help="fewer layers than the published model's, for a try")
    given = parser.parse_args()
    write(given.path, config_of(given.family, given.layers))
    print(f"{given.path}: {given.path.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
