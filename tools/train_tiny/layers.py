"""Layers that both families share, with the semantics of mlx-lm and with simulated quantisation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 64


def affine(weight: Tensor, bits: int) -> Tensor:
    """What `mx.quantize` (affine, group 64, bf16 scales) makes of a weight (..., n), dequantised."""
    levels = 2**bits - 1
    groups = weight.bfloat16().float().unflatten(-1, (-1, GROUP))
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = ((high - low) / levels).clamp(min=1e-7)
    from_low = low.abs() > high.abs()
    scale = torch.where(from_low, scale, -scale)
    edge = torch.where(from_low, low, high)
    steps = (edge / scale).round()
    scale = torch.where(steps != 0, edge / torch.where(steps != 0, steps, 1), scale)
    bias = torch.where(steps != 0, edge, 0)
    codes = ((groups - bias) / scale).round().clamp(0, levels)
    return (codes * scale.bfloat16().float() + bias.bfloat16().float()).flatten(-2)


class Switch:
    """Whether weights pass through simulated quantisation; one for a whole model."""

    on = False


class Weight(nn.Module):
    """A parameter called `weight` that is quantised in the exported checkpoint."""

    def __init__(self, switch: Switch, *shape: int, bits: int = 4, std: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape) * (shape[-1] ** -0.5 if std is None else std))
        self.switch, self.bits = switch, bits

    def read(self) -> Tensor:
        """The weight, straight-through quantised when the switch is on."""
        if not self.switch.on:
            return self.weight
        return self.weight + (affine(self.weight, self.bits) - self.weight).detach()


class Linear(Weight):
    """y = x W^T, W (out, in)."""

    def __init__(self, switch: Switch, inputs: int, outputs: int, bits: int = 4) -> None:
        super().__init__(switch, outputs, inputs, bits=bits)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.read())


class Embedding(Weight):
    """Rows of a table (tokens, size)."""

    def __init__(self, switch: Switch, tokens: int, size: int) -> None:
        super().__init__(switch, tokens, size, std=1.0)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.read())


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(x.dtype)


class MLP(nn.Module):
    """SwiGLU block."""

    def __init__(self, switch: Switch, size: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = Linear(switch, size, inner)
        self.up_proj = Linear(switch, size, inner)
        self.down_proj = Linear(switch, inner, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Experts(nn.Module):
    """SwitchGLU: computes every expert and weighs with zeros, which on a GPU is the quickest at this size."""

    def __init__(self, switch: Switch, size: int, inner: int, count: int) -> None:
        super().__init__()
        self.gate_proj = Weight(switch, count, inner, size)
        self.up_proj = Weight(switch, count, inner, size)
        self.down_proj = Weight(switch, count, size, inner)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (tokens, size), weights (tokens, experts), zero where an expert is not chosen."""
        gate = F.linear(x, self.gate_proj.read().flatten(0, 1))
        up = F.linear(x, self.up_proj.read().flatten(0, 1))
        inner = (F.silu(gate) * up).unflatten(-1, (weights.shape[-1], -1)) * weights.unsqueeze(-1).to(x.dtype)
        return F.linear(inner.flatten(-2), self.down_proj.read().permute(1, 0, 2).flatten(1))


def rope(x: Tensor, base: float, interleaved: bool) -> Tensor:
    """Rotary embedding of x (..., positions, size) from position 0, halves or pairs as `traditional` in MLX."""
    length, size = x.shape[-2:]
    frequency = base ** (-torch.arange(0, size, 2, device=x.device, dtype=torch.float32) / size)
    angle = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    if interleaved:
        a, b = x[..., 0::2].float(), x[..., 1::2].float()
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1).to(x.dtype)
