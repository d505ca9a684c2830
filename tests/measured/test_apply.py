"""Patching a loaded model: nothing stays after undo, nothing is changed where a part does not apply, calls count."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.tiny import Tiny, equal, resting_memory
from tests.variants import variant
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="session")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op", "doubles", "unavailable", "broken", "raises", "shy", "mirror")


@pytest.mark.parametrize("kernels", [("combine=no_op",), ("combine=doubles",), ("qkv=qkv_joined", "combine=no_op")])
def test_undo_leaves_no_trace(tiny: Tiny, planted: Workspace, kernels: tuple[str, ...]) -> None:
    stock = tiny.logits(steps=2)
    state = tiny.state()
    memory = resting_memory()
    patch = tiny.patch(variant(tiny.name, *kernels), planted.kernels)
    patch.install(count=True)
    tiny.logits(steps=1)
    patch.undo()
    assert tiny.state() == state
    assert equal(tiny.logits(steps=2), stock)
    assert resting_memory() <= memory + 4096


def test_a_kernel_that_changes_the_sum_changes_the_logits(tiny: Tiny, planted: Workspace) -> None:
    stock = tiny.logits(steps=1)
    patch = tiny.patch(variant(tiny.name, "combine=doubles"), planted.kernels)
    patched = tiny.logits(steps=1)
    patch.undo()
    assert not equal(patched, stock)


@pytest.mark.parametrize(
    ("reference", "site", "hosts"),
    [
        ("no_op", "combine", "moe_layers"),
        ("moe_combine.stock", "combine", "moe_layers"),
        ("moe_combine.bf16_rounded", "combine", "moe_layers"),
        ("moe_combine.fp32", "combine", "moe_layers"),
        ("moe_combine.fp32_no_fma", "combine", "moe_layers"),
        ("qkv_joined", "qkv", "layers"),
        ("mirror", "residual_norm", "adds"),
    ],
)
def test_a_site_is_called_once_per_host_and_decoded_token(
    tiny: Tiny, planted: Workspace, reference: str, site: str, hosts: str
) -> None:
    patch = tiny.patch(variant(tiny.name, f"{site}={reference}"), planted.kernels)
    try:
        assert patch.hosts == {site: getattr(tiny, hosts)}
        patch.install(count=True)
        tiny.logits(steps=1)
        first = patch.calls[site]
        tiny.logits(steps=4)
        assert patch.calls[site] - first == first + 3 * patch.hosts[site]
    finally:
        patch.undo()


def test_without_counting_nothing_is_counted(tiny: Tiny, planted: Workspace) -> None:
    patch = tiny.patch(variant(tiny.name, "combine=no_op"), planted.kernels)
    try:
        tiny.logits(steps=1)
        assert not patch.calls
    finally:
        patch.undo()


def test_a_kernel_beyond_its_limit_stays_with_the_stock_model(tiny: Tiny, planted: Workspace) -> None:
    stock = tiny.logits(steps=0)
    patch = tiny.patch(variant(tiny.name, "combine=doubles"), planted.kernels, {"doubles": 4})
    try:
        patch.install(count=True)
        assert equal(tiny.logits(steps=0), stock), "a prompt of eight tokens is beyond the limit of four"
        assert patch.calls["combine"] == 0
        tiny.logits(prompt=(5,), steps=0, batch=4)
        assert patch.calls["combine"] == tiny.moe_layers, "batch times sequence is four: within"
        tiny.logits(prompt=(5,), steps=0, batch=5)
        assert patch.calls["combine"] == tiny.moe_layers
    finally:
        patch.undo()


@pytest.mark.parametrize(
    ("kernels", "says"),
    [
        (("combine=unavailable",), "needs a machine that is not here"),
        (("qkv=qkv_joined", "combine=unavailable"), "needs a machine that is not here"),
        (("combine=broken",), "broken: cannot be imported: No module named 'a_module_that_is_not_there'"),
        (("router+combine=no_op",), r"no_op: this model has no site router\+combine"),
    ],
)
def test_where_a_part_does_not_apply_nothing_is_changed(
    tiny: Tiny, planted: Workspace, kernels: tuple[str, ...], says: str
) -> None:
    state = tiny.state()
    with pytest.raises(Unavailable, match=says):
        tiny.patch(variant(tiny.name, *kernels), planted.kernels)
    assert tiny.state() == state


def test_a_site_that_the_model_has_not_is_unavailable(tiny: Tiny, planted: Workspace) -> None:
    foreign = {"qwen3": "shared_experts", "glm47": "attention+combine"}[tiny.name]
    with pytest.raises(Unavailable, match=f"this model has no site {re.escape(foreign)}"):
        tiny.patch(variant(tiny.name, f"{foreign}=no_op"), planted.kernels)


def test_a_bind_that_raises_leaves_the_model_as_it_was(tiny: Tiny, planted: Workspace) -> None:
    state = tiny.state()
    with pytest.raises(ValueError, match="planted in bind"):
        tiny.patch(variant(tiny.name, "qkv=qkv_joined", "combine=raises"), planted.kernels)
    assert tiny.state() == state


def test_kernels_of_another_workspace_take_the_place_of_earlier_ones(
    tiny: Tiny, planted: Workspace, make_workspace: Callable[..., Workspace]
) -> None:
    other = make_workspace("no_op")
    text = (other.kernels / "no_op" / "kernel.py").read_text()
    (other.kernels / "no_op" / "kernel.py").write_text(
        text.replace("Binding(stock)", "Binding(lambda y, scores: -y[..., 0, :])")
    )
    stock = tiny.logits(steps=0)
    for place, same in ((planted, True), (other, False), (planted, True)):
        patch = tiny.patch(variant(tiny.name, "combine=no_op"), place.kernels)
        assert equal(tiny.logits(steps=0), stock) is same
        patch.undo()
