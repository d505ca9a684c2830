"""With what the unpatched model does plugged in at every site, no bit of the logits changes: the hosts' own
composition adds nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import mlx.core as mx
import pytest
from mlx_lm.models import switch_layers

from tests import small
from tests.families import family as family_of
from tests.tiny import Tiny, equal
from tests.variants import variant
from zmlx_bench.catalog import families
from zmlx_bench.workspace import Workspace

MOE = ("router", "experts", "down", "combine")
SINGLE = {
    "qwen3": (*MOE, "qkv", "qk_norm_rope", "residual_norm", "linear"),
    "glm47": (*MOE, "qkv", "qk_norm_rope", "attention", "shared_experts", "residual_norm", "linear"),
}
RUNS = {
    name: tuple(dict.fromkeys("+".join(run.sites) for block in family_of(name).blocks for run in block.runs()))
    for name in families.names()
}


@pytest.fixture(scope="session")
def mirrors(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("mirror")


def said(tiny: Tiny) -> list[mx.array]:
    """A prefill, decode steps, a prompt of one token, and a batch."""
    return [*tiny.logits(steps=2), *tiny.logits((9,), 1), *tiny.logits((9, 8, 7), 1, batch=2)]


@cache
def unpatched(family: str) -> list[mx.array]:
    return said(Tiny.load(family, checkpoint=small.folder(family)))


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


@pytest.mark.parametrize("sites", list(dict.fromkeys(sites for runs in RUNS.values() for sites in runs)))
def test_every_run_of_neighbouring_steps(tiny: Tiny, mirrors: Workspace, sites: str) -> None:
    if sites not in RUNS[tiny.name]:
        assert not any(host.offers(tuple(sites.split("+"))) for host in tiny.hosts())
        return
    assert all(unchanged(tiny, mirrors, (sites,)).get(part, 0) > 0 for part in sites.split("+"))


def test_a_long_prompts_tokens_are_sorted_where_only_the_combine_is_replaced(
    tiny: Tiny, mirrors: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sort, sorted_here = switch_layers._gather_sort, []

    def watched(x: mx.array, indices: mx.array) -> object:
        sorted_here.append(indices.size)
        return sort(x, indices)

    monkeypatch.setattr(switch_layers, "_gather_sort", watched)
    prompt = tuple(range(9, 109))
    stock, as_stock = tiny.logits(prompt, 1), list(sorted_here)
    patch = tiny.patch(variant(tiny.name, "combine=mirror"), mirrors.kernels)
    try:
        sorted_here.clear()
        assert equal(tiny.logits(prompt, 1), stock)
    finally:
        patch.undo()
    assert sorted_here == as_stock
    assert len(as_stock) > 0


def test_the_sites_of_each_family(tiny: Tiny) -> None:
    assert {run for run in RUNS[tiny.name] if "+" not in run} == set(SINGLE[tiny.name])
    offered = {"+".join(run.sites) for host in tiny.hosts() for run in host.block.runs()}
    assert offered == set(RUNS[tiny.name]), "a family declares the blocks of all its hosts, and no other"


def test_all_sites_together(tiny: Tiny, mirrors: Workspace) -> None:
    calls = unchanged(tiny, mirrors, SINGLE[tiny.name])
    assert set(calls) == set(SINGLE[tiny.name])


def test_a_fused_kernel_beside_single_ones(tiny: Tiny, mirrors: Workspace) -> None:
    unchanged(tiny, mirrors, ("router", "experts+down", "combine", "qkv"))
    unchanged(tiny, mirrors, ("experts", "down+combine", "residual_norm"))
    if tiny.name == "glm47":
        unchanged(tiny, mirrors, ("qkv+qk_norm_rope", "attention", "linear"))


def test_the_limit_keeps_a_prompt_with_the_stock_model(tiny: Tiny, mirrors: Workspace) -> None:
    stock = tiny.logits()
    sites = [f"{site}=mirror" for site in MOE]
    patch = tiny.patch(variant(tiny.name, *sites), mirrors.kernels, {"mirror": 1})
    try:
        patch.install(count=True)
        assert equal(tiny.logits(steps=0), stock[:1])
        assert not patch.calls
        assert equal(tiny.logits(), stock)
        assert patch.calls == {site: tiny.moe_layers * (len(stock) - 1) for site in MOE}
    finally:
        patch.undo()
