"""GLM-4.7-Flash's architecture in PyTorch, parameter names and semantics as mlx-lm's `glm4_moe_lite`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.train_tiny.layers import MLP, Embedding, Experts, Linear, RMSNorm, Switch, Weight, rope

CONFIG = {
    "model_type": "glm4_moe_lite",
    "architectures": ["Glm4MoeLiteForCausalLM"],
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "intermediate_size": 512,
    "moe_intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 32,
    "num_experts_per_tok": 4,
    "routed_scaling_factor": 1.8,
    "q_lora_rank": 128,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 0,
    "max_position_embeddings": 4096,
    "vocab_size": 1536,
    "eos_token_id": 0,
}
BIAS_STEP = 1e-3


class Attention(nn.Module):
    """Multi-head latent attention."""

    def __init__(self, c: dict, switch: Switch) -> None:
        super().__init__()
        hidden, eps = c["hidden_size"], c["rms_norm_eps"]
        self.heads, self.latent = c["num_attention_heads"], c["kv_lora_rank"]
        self.nope, self.turned, self.value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
        self.q_a_proj = Linear(switch, hidden, c["q_lora_rank"])
        self.q_a_layernorm = RMSNorm(c["q_lora_rank"], eps)
        self.q_b_proj = Linear(switch, c["q_lora_rank"], self.heads * (self.nope + self.turned))
        self.kv_a_proj_with_mqa = Linear(switch, hidden, self.latent + self.turned)
        self.kv_a_layernorm = RMSNorm(self.latent, eps)
        self.embed_q = Weight(switch, self.heads, self.latent, self.nope)
        self.unembed_out = Weight(switch, self.heads, self.value, self.latent)
        self.o_proj = Linear(switch, self.heads * self.value, hidden)
        self.base = c["rope_theta"]

    def forward(self, x: Tensor) -> Tensor:
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.unflatten(-1, (self.heads, self.nope + self.turned)).transpose(1, 2)
        q_nope, q_turned = q.split((self.nope, self.turned), -1)
        latent, k_turned = self.kv_a_proj_with_mqa(x).split((self.latent, self.turned), -1)
        latent = self.kv_a_layernorm(latent).unsqueeze(1)
        k_nope = latent @ self.embed_q.read().to(latent.dtype)
        value = latent @ self.unembed_out.read().to(latent.dtype).transpose(-1, -2)
        q_turned = rope(q_turned, self.base, True)
        k_turned = rope(k_turned.unsqueeze(1), self.base, True).expand(-1, self.heads, -1, -1)
        # The fused attention wants one size for all three; zeros in the values change nothing.
        value = F.pad(value, (0, self.nope + self.turned - self.value))
        out = F.scaled_dot_product_attention(
            torch.cat((q_nope, q_turned), -1), torch.cat((k_nope, k_turned), -1), value, is_causal=True
        )
        return self.o_proj(out[..., : self.value].transpose(1, 2).flatten(-2))


class Gate(nn.Module):
    """Sigmoid router whose choice, but not its weights, is corrected by a bias that balances the experts."""

    e_score_correction_bias: Tensor

    def __init__(self, c: dict) -> None:
        super().__init__()
        self.top, self.factor = c["num_experts_per_tok"], c["routed_scaling_factor"]
        self.weight = nn.Parameter(torch.randn(c["n_routed_experts"], c["hidden_size"]) * c["hidden_size"] ** -0.5)
        self.register_buffer("e_score_correction_bias", torch.zeros(c["n_routed_experts"]))
        self.register_buffer("load", torch.zeros(c["n_routed_experts"]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weights (tokens, experts) of x (tokens, size), zero where an expert is not chosen."""
        scores = F.linear(x, self.weight).float().sigmoid()
        chosen = (scores + self.e_score_correction_bias).topk(self.top, -1).indices
        kept = scores.gather(1, chosen)
        kept = kept / (kept.sum(-1, keepdim=True) + 1e-20) * self.factor
        weights = torch.zeros_like(scores).scatter(1, chosen, kept)
        if self.training:
            self.load = (weights.detach() > 0).float().mean(0)
        return weights


class MoE(nn.Module):
    """Routed experts plus one shared expert."""

    def __init__(self, c: dict, switch: Switch) -> None:
        super().__init__()
        size, inner = c["hidden_size"], c["moe_intermediate_size"]
        self.gate = Gate(c)
        self.switch_mlp = Experts(switch, size, inner, c["n_routed_experts"])
        self.shared_experts = MLP(switch, size, inner * c["n_shared_experts"])

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        return self.switch_mlp(flat, self.gate(flat)).view_as(x) + self.shared_experts(x)


class Layer(nn.Module):
    """Pre-norm decoder layer, dense in the first layers."""

    def __init__(self, c: dict, switch: Switch, dropout: float, dense: bool) -> None:
        super().__init__()
        self.self_attn = Attention(c, switch)
        self.mlp = MLP(switch, c["hidden_size"], c["intermediate_size"]) if dense else MoE(c, switch)
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
        dense = c["first_k_dense_replace"]
        self.embed_tokens = Embedding(switch, c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, switch, dropout, i < dense) for i in range(c["num_hidden_layers"]))
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
        """Zero: the balance is kept by the correction bias."""
        return torch.zeros((), device=self.lm_head.weight.device)

    @torch.no_grad()
    def after_step(self) -> None:
        """Move each correction bias a step against its expert's load (loss-free balancing, arXiv 2408.15664)."""
        for module in self.modules():
            if isinstance(module, Gate):
                module.e_score_correction_bias -= BIAS_STEP * (module.load - module.load.mean()).sign()
