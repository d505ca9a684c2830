"""DeepSeek-V3 and Kimi-K2: mlx-lm `deepseek_v3`. Latent attention; sigmoid router among groups; one shared expert.

All but the router is as in the family glm47.
"""

from __future__ import annotations

from dataclasses import replace

from mlx_lm.models.deepseek_v3 import DeepseekV3MoE

from zmlx_bench.measured.api import LINEAR, LINEAR_PER_HEAD, NORM_BLOCK, SIGMOID_GROUPS
from zmlx_bench.measured.families.glm47 import attention
from zmlx_bench.measured.families.glm47.family import MOE as OTHER
from zmlx_bench.measured.families.glm47.family import ROUTED as OTHER_ROUTED
from zmlx_bench.measured.families.glm47.family import SHARED, Glm47

MOE = replace(OTHER, steps=(SIGMOID_GROUPS, *OTHER.steps[1:]))
ROUTED = replace(OTHER_ROUTED, steps=(SIGMOID_GROUPS, *OTHER_ROUTED.steps[1:]))


class DeepseekV3(Glm47):
    """MoE blocks, shared experts, attentions, the stack of layers and dense projections."""

    blocks = (attention.BLOCK, NORM_BLOCK, MOE, SHARED, LINEAR, LINEAR_PER_HEAD)
    experts = DeepseekV3MoE
    moe = MOE
    routed = ROUTED
