"""Every kernel that calls a mode `stock` on Metal is compared with the shipped kernels, here."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
COMPARED = {
    "gather_qmm_down_combine": "test_experts.test_published_down_and_combine",
    "gather_qmm_moe": "test_experts.test_routed_and_shared_experts_together",
    "gather_qmm_swiglu": "test_experts.test_published_experts",
    "mla_attention": "test_latent.test_a_scale_that_is_a_power_of_two_goes_before_embed_q",
    "mla_decode": "test_latent.test_softmax_of_the_scores",
    "mla_norm_rope": "test_latent.test_norms_and_rotation_of_the_key",
    "moe_combine": "test_dense.test_combine",
    "moe_router": "test_router.test_softmax_router",
    "packed_down_combine": "test_packed.test_down_and_combine",
    "packed_experts": "test_packed.test_experts",
    "packed_moe": "test_packed.test_routed_and_shared_experts_together",
    "projections_joined": "test_dense.test_biases_of_joined_projections",
    "qk_norm_rope": "test_norms.test_norm_and_rotation_of_q_and_k",
    "qkv_joined": "test_dense.test_joined_projections",
    "qkv_norm_rope": "test_norms.test_norm_rotation_and_layout_of_a_joined_projection",
    "residual_norm": "test_norms.test_residual_norm",
    "shared_experts": "test_dense.test_published_shared_experts",
}
"""The first of its comparisons. mla_attention is mla_norm_rope and mla_decode but for where it scales,
projections_joined qkv_joined with biases."""


def test_every_kernel_that_is_stock_on_metal_is_compared() -> None:
    stock = []
    for path in sorted(KERNELS.glob("*/kernel.toml")):
        modes = tomllib.loads(path.read_text())["mode"].values()
        if any(mode["numerics"] == "stock" and "metal" in mode["backends"] for mode in modes):
            stock.append(path.parent.name)
    assert stock == sorted(COMPARED)


@pytest.mark.parametrize("kernel", COMPARED)
def test_its_comparison_exists(kernel: str) -> None:
    module, _, name = COMPARED[kernel].partition(".")
    assert f"\ndef {name}(" in Path(__file__).with_name(f"{module}.py").read_text()
