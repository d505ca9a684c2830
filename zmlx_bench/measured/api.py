"""What authors of kernels and of model families import; everything else here may change without notice.

A kernel's `bind(module, request)` returns a `Binding` or raises `Unavailable`. A family's `hosts(model)` says which
module has which steps; what several architectures share is here too, and a family takes what fits it.
"""

from zmlx_bench.measured.contract import Binding, BindRequest, Split, Steps, Unavailable, require_kind, require_parts
from zmlx_bench.measured.families.attention import GroupedQuery, attend_with
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.families.decode import append, projection
from zmlx_bench.measured.families.linear import LINEAR, LINEAR_PER_HEAD, linear_hosts
from zmlx_bench.measured.families.moe import (
    COMBINE,
    DOWN,
    EXPERTS,
    SIGMOID_BIAS_ROUTER,
    SOFTMAX_ROUTER,
    moe_block,
    router,
)
from zmlx_bench.measured.families.parts import parts_host, routed_block
from zmlx_bench.measured.families.projections import PROJECTIONS, projection_block, projection_hosts
from zmlx_bench.measured.families.routers import (
    ROUTER_BLOCK,
    SIGMOID_FLOAT32,
    SIGMOID_GROUPS,
    SIGMOID_OWN,
    TOP_K_SOFTMAX,
    TOP_K_SOFTMAX_SCALED,
)
from zmlx_bench.measured.families.stack import NORM_BLOCK, RESIDUAL_NORM, Layer, Masks, Stack, attention_mask
from zmlx_bench.measured.host import Halves, Host, replace_call, stock_call
from zmlx_bench.measured.inputs import Filled, Sizes, all_bytes, expert_bytes, hidden, no_bytes, offset
from zmlx_bench.measured.primitives import require_primitive
from zmlx_bench.measured.steps import Block, Call, Calls, Span, Step

__all__ = [
    "COMBINE",
    "DOWN",
    "EXPERTS",
    "LINEAR",
    "LINEAR_PER_HEAD",
    "NORM_BLOCK",
    "PROJECTIONS",
    "RESIDUAL_NORM",
    "ROUTER_BLOCK",
    "SIGMOID_BIAS_ROUTER",
    "SIGMOID_FLOAT32",
    "SIGMOID_GROUPS",
    "SIGMOID_OWN",
    "SOFTMAX_ROUTER",
    "TOP_K_SOFTMAX",
    "TOP_K_SOFTMAX_SCALED",
    "BindRequest",
    "Binding",
    "Block",
    "Call",
    "Calls",
    "Family",
    "Filled",
    "GroupedQuery",
    "Halves",
    "Host",
    "Layer",
    "Masks",
    "Sizes",
    "Span",
    "Split",
    "Stack",
    "Step",
    "Steps",
    "Unavailable",
    "all_bytes",
    "append",
    "attend_with",
    "attention_mask",
    "expert_bytes",
    "hidden",
    "linear_hosts",
    "moe_block",
    "no_bytes",
    "offset",
    "parts_host",
    "projection",
    "projection_block",
    "projection_hosts",
    "replace_call",
    "require_kind",
    "require_parts",
    "require_primitive",
    "routed_block",
    "router",
    "stock_call",
]
