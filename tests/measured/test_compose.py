"""With what the unpatched model does plugged in at every site, no bit of the logits changes: the hosts' own
composition adds nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import mlx.core as mx
import pytest

from tests.tiny import Tiny, equal
from tests.variants import variant
from zmlx_bench.measured.families import moe
from zmlx_bench.measured.families.glm47 import family as glm47
from zmlx_bench.measured.families.qwen3 import family as qwen3
from zmlx_bench.workspace import Workspace

OWN = {
    "qwen3": ("qkv", "qk_norm_rope", "residual_norm", "linear"),
    "glm47": ("qkv", "attention", "shared_experts", "residual_norm", "linear"),
}
ALL = tuple(dict.fromkeys((*moe.SITES, *OWN["qwen3"], *OWN["glm47"])))
FUSED = tuple("+".join(sites) for sites in moe.FUSIONS)
FUSED_OWN = {
    "qwen3": ("+".join(qwen3.QKV_NORM_ROPE),),
    "glm47": tuple("+".join(sites) for sites in (glm47.WITH_SHARED, *glm47.ATTENTION_FUSIONS)),
}


@pytest.fixture(scope="session")
def mirrors(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("mirror")


def said(tiny: Tiny) -> list[mx.array]:
    """A prefill, decode steps, a prompt of one token, and a batch."""
    return [*tiny.logits(steps=2), *tiny.logits((9,), 1), *tiny.logits((9, 8, 7), 1, batch=2)]


@cache
def unpatched(family: str) -> list[mx.array]:
    return said(Tiny.load(family))


def unchanged(tiny: Tiny, mirrors: Workspace, sites: tuple[str, ...]) -> dict[str, int]:
    """Compare all logits; return the calls of each site."""
    stock = unpatched(tiny.name)
    patch = tiny.patch(variant(tiny.name, *(f"{site}=mirror" for site in sites)), mirrors.kernels)
    try:
        patch.install(count=True)
        assert equal(said(tiny), stock)
        return dict(patch.calls)
    finally:
        patch.undo()


@pytest.mark.parametrize("site", [*ALL, *FUSED, *FUSED_OWN["glm47"]])
def test_a_site_alone(tiny: Tiny, mirrors: Workspace, site: str) -> None:
    offered = (*moe.SITES, *FUSED, *OWN[tiny.name], *FUSED_OWN[tiny.name])
    if site not in offered:
        assert not any(host.offers(tuple(site.split("+"))) for host in tiny.hosts())
        return
    assert all(unchanged(tiny, mirrors, (site,)).get(part, 0) > 0 for part in site.split("+"))


def test_all_sites_together(tiny: Tiny, mirrors: Workspace) -> None:
    sites = (*moe.SITES, *OWN[tiny.name])
    calls = unchanged(tiny, mirrors, sites)
    assert set(calls) == set(sites)


def test_a_fused_kernel_beside_single_ones(tiny: Tiny, mirrors: Workspace) -> None:
    unchanged(tiny, mirrors, ("router", "experts+down", "combine", "qkv"))
    unchanged(tiny, mirrors, ("experts", "down+combine", "residual_norm"))
    if tiny.name == "glm47":
        unchanged(tiny, mirrors, ("qkv+qk_norm_rope", "attention", "linear"))


def test_the_limit_keeps_a_prompt_with_the_stock_model(tiny: Tiny, mirrors: Workspace) -> None:
    stock = tiny.logits()
    sites = [f"{site}=mirror" for site in moe.SITES]
    patch = tiny.patch(variant(tiny.name, *sites), mirrors.kernels, {"mirror": 1})
    try:
        patch.install(count=True)
        assert equal(tiny.logits(steps=0), stock[:1])
        assert not patch.calls
        assert equal(tiny.logits(), stock)
        assert patch.calls == {site: tiny.moe_layers * (len(stock) - 1) for site in moe.SITES}
    finally:
        patch.undo()
