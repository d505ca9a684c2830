"""Qwen3.5-MoE: mlx-lm `qwen3_5_moe`. Gated linear attention, softmax attention in every fourth layer."""

from zmlx_bench.measured.families.hybrid import Hybrid as Hybrid
