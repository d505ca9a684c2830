"""Qwen3-Next: mlx-lm `qwen3_next`. Gated linear attention, softmax attention in every fourth layer; softmax router."""

from zmlx_bench.measured.families.hybrid import Hybrid as Hybrid
