"""Qwen3 MoE in PyTorch, parameter names and semantics as mlx-lm's `qwen3_moe`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.train_tiny.layers import Embedding, Experts, Linear, RMSNorm, Switch, rope

CONFIG = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "intermediate_size": 512,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts": 48,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "max_position_embeddings": 4096,
    "vocab_size": 1536,
    "eos_token_id": 0,
}


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys."""

    def __init__(self, c: dict, switch: Switch) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.q_proj = Linear(switch, c["hidden_size"], self.heads * self.size)
        self.k_proj = Linear(switch, c["hidden_size"], self.kv_heads * self.size)
        self.v_proj = Linear(switch, c["hidden_size"], self.kv_heads * self.size)
        self.o_proj = Linear(switch, self.heads * self.size, c["hidden_size"])
        self.q_norm = RMSNorm(self.size, c["rms_norm_eps"])
        self.k_norm = RMSNorm(self.size, c["rms_norm_eps"])
        self.base = c["rope_theta"]

    def forward(self, x: Tensor) -> Tensor:
        q = self.q_norm(self.q_proj(x).unflatten(-1, (self.heads, self.size))).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).unflatten(-1, (self.kv_heads, self.size))).transpose(1, 2)
        v = self.v_proj(x).unflatten(-1, (self.kv_heads, self.size)).transpose(1, 2)
        q, k = rope(q, self.base, False), rope(k, self.base, False)
        repeat = self.heads // self.kv_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).flatten(-2))


class MoE(nn.Module):
    """Softmax router, top-k with renormalised probabilities, 8-bit router weights."""

    def __init__(self, c: dict, switch: Switch) -> None:
        super().__init__()
        self.top = c["num_experts_per_tok"]
        self.gate = Linear(switch, c["hidden_size"], c["num_experts"], bits=8)
        self.switch_mlp = Experts(switch, c["hidden_size"], c["moe_intermediate_size"], c["num_experts"])
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        probabilities = self.gate(flat).float().softmax(-1)
        scores, chosen = probabilities.topk(self.top, -1)
        weights = torch.zeros_like(probabilities).scatter(1, chosen, scores / scores.sum(-1, keepdim=True))
        # The balance loss of the Switch Transformer: share of tokens times mean probability of each expert.
        share = (weights.detach() > 0).float().mean(0) / self.top
        self.balance = (share * probabilities.mean(0)).sum() * probabilities.shape[-1]
        return self.switch_mlp(flat, weights).view_as(x)


class Layer(nn.Module):
    """Pre-norm decoder layer."""

    def __init__(self, c: dict, switch: Switch, dropout: float) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(c, switch), MoE(c, switch)
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.self_attn(self.input_layernorm(x)))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Body(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, c: dict, switch: Switch, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = Embedding(switch, c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, switch, dropout) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Model(nn.Module):
    """Logits (batch, positions, vocabulary) of ids (batch, positions)."""

    def __init__(self, c: dict, dropout: float = 0.0) -> None:
        super().__init__()
        self.switch = Switch()
        self.model = Body(c, self.switch, dropout)
        self.lm_head = Linear(self.switch, c["hidden_size"], c["vocab_size"])

    def forward(self, ids: Tensor) -> Tensor:
        return self.lm_head(self.model(ids))

    def balance_loss(self) -> Tensor:
        """Mean balance loss of the last forward pass."""
        return torch.stack([layer.mlp.balance for layer in self.model.layers]).mean()

    def after_step(self) -> None:
        """Nothing to do: the balance is kept by a loss."""
