"""What a kernel folder implements: `kernel.py` has `bind(module, request) -> Binding`.

`bind` is called once for each module that holds the kernel's sites, after the weights are loaded. The
returned `call` gets keyword arguments and returns the outputs of its last site. Shapes: B batch, L sequence,
D hidden, k experts a token, I intermediate, H heads; inputs and outputs have the model's dtype unless said.

| site | module given to `bind` | inputs | outputs |
|---|---|---|---|
| router | MoE block | x (B, L, D) | inds (B, L, k) uint32, scores (B, L, k): Qwen x's dtype, GLM float32 |
| experts | MoE block | x, inds | h (B, L, k, I) = swiglu(gate, up) |
| down | MoE block | h, inds | y (B, L, k, D) |
| combine | MoE block | y, scores | out (B, L, D) in y's dtype (GLM: before the shared experts are added) |
| shared_experts | GLM's shared MLP | x | s (B, L, D) |
| qkv | attention | x | Qwen: q, k, v projections; GLM: q_a and compressed_kv projections |
| qk_norm_rope | Qwen's attention | q (B, L, Hq*hd), k (B, L, Hk*hd), offset | q (B, Hq, L, hd), k (B, Hk, L, hd) |
| residual_norm | each RMSNorm after an add, the last included | x, r (B, L, D) | h = x + r, norm(h) |
| attention | GLM's attention | q_nope (B, H, 1, rank), q_pe, kv_latent (B, 1, S, rank), k_pe | (B, H, 1, rank) |
| linear | each nn.QuantizedLinear | x (..., K) | (..., N) |
| linear | GLM's QuantizedMultiLinear (embed_q, unembed_out) | x (B, H or 1, L, K) | (B, H, L, N) |

A kernel fused over contiguous sites takes what is not made inside it: down+combine gets h, inds, scores;
experts+down gets x, inds; experts+down+combine gets x, inds, scores; router+experts+down+combine gets x.
GLM's experts+down+combine+shared_experts gets x, inds, scores and returns the sum with the shared expert's output.
Qwen's qkv+qk_norm_rope gets x, offset and returns q (B, Hq, L, hd), k, v (B, Hk, L, hd).
GLM's attention is cut for decode alone (L = 1, no mask; anything else runs the unpatched steps): qkv+qk_norm_rope
gets x, offset and returns q_nope (B, H, 1, nope), q_pe (B, H, 1, rope), kv_latent (B, 1, 1, rank), k_pe
(B, 1, 1, rope); qkv+qk_norm_rope+attention gets x, cache, updates the cache and returns attention's (B, H, 1, rank).
Qwen's qkv+qk_norm_rope+residual_norm+router+experts+down+combine is bound to the stack of layers and is `Steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BindRequest:
    """What is asked of a kernel for one module."""

    family: str
    sites: tuple[str, ...]
    mode: str
    backend: str
    """`cpu`, `cuda` or `metal`."""


@dataclass(frozen=True)
class Binding:
    """A kernel bound to one module."""

    call: Callable[..., Any]
    undo: Callable[[], None] | None = None
    """Puts back what `bind` changed in the module; None when it changed nothing."""


@dataclass(frozen=True)
class Split:
    """A call over qkv+qk_norm_rope+attention that can be cut at the cache, so that decode steps can be traced."""

    before: Callable[..., tuple[Any, ...]]
    """before(x, offset) -> what `attend` takes; offset is an int or an int32 array (1,) or (B,)."""
    attend: Callable[..., Any]
    """attend(parts, cache) -> (B, H, 1, rank); updates the cache."""

    def __call__(self, x: Any, cache: Any) -> Any:
        """Do both after each other."""
        return self.attend(self.before(x=x, offset=cache.offset), cache)


@dataclass(frozen=True)
class Steps:
    """A decode step of a stack of layers for one token of one sequence, cut where the caches are.

    h, r and norm (1, 1, D), offset int32 (1,), `parts` what a layer's attention takes and `out` what it gives.
    """

    head: Callable[..., tuple[Any, ...]]
    """head(h, offset) -> parts of the first layer."""
    between: Sequence[Callable[..., tuple[Any, ...]]]
    """Of each layer but the last, between(out, h, offset) -> (h, *parts of the next layer)."""
    tail: Callable[..., Any]
    """tail(out, h) -> the last norm."""

    def __call__(self, h: Any, offset: Any, attends: Sequence[Callable[..., Any]], caches: Sequence[Any]) -> Any:
        """Do all of it; attend(parts, mask, cache) -> out."""
        parts = self.head(h, offset)
        for attend, step, cache in zip(attends[:-1], self.between, caches[:-1], strict=True):
            made = step(attend(parts, None, cache), h, offset)
            h, parts = made[0], made[1:]
        return self.tail(attends[-1](parts, None, caches[-1]), h)


class Unavailable(Exception):
    """Raised by `bind` with one plain sentence: it cannot serve this module or machine. The whole variant is
    then `unavailable`, never silently reduced."""
