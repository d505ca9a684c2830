"""The packaged families that have no trained checkpoint: sizes as published, and small random models in this process.

Every variant of each is applied on the CPU: its logits have stock's bits, or it is unavailable with a reason.
"""

from __future__ import annotations

from functools import cache

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from tests.small_families import NAMES, sizes_of, small
from tests.tiny import Tiny, equal
from zmlx_bench.catalog import families, kernels
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.families.any import trial
from zmlx_bench.measured.families.any.trial import Candidate, fallen
from zmlx_bench.workspace import Workspace, packaged

pytestmark = pytest.mark.model
PROMPT = tuple(range(5, 25))
DECLARED = [(name, each) for name in NAMES for each in Catalog(Workspace(packaged()), name).names()]


def said(model: Tiny) -> list[mx.array]:
    """Longer than a window and long enough that mlx-lm sorts tokens; then decode steps, and a batch."""
    return [*model.logits(PROMPT, 3), *model.logits((9,), 1), *model.logits((9, 8, 7), 1, batch=2)]


@cache
def stock(name: str) -> list[mx.array]:
    return said(small(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_synthetic_sizes_are_the_published_ones(name: str) -> None:
    facts = families.facts(name)
    parameters, size = synthetic.size(small(name).family)
    assert round(parameters / 1e9, 1) == facts.parameters_b
    assert round(size / 1e9, 1) == facts.memory_gb


@pytest.mark.parametrize("name", NAMES)
def test_what_is_counted_is_what_is_built(name: str) -> None:
    model = small(name)
    _, counted = synthetic.size(model.family, sizes_of(name))
    assert counted == sum(value.nbytes for _, value in tree_flatten(model.model.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_makes_the_same_weights_whatever_was_drawn_before(name: str) -> None:
    """Every process of a session makes them anew; mlx-lm itself draws the decays of linear attention."""
    model = small(name)
    mx.random.seed(123)
    again = synthetic.build(model.family, 7, sizes=sizes_of(name))
    first, second = (dict(tree_flatten(each.parameters())) for each in (model.model, again))
    assert [path for path, value in first.items() if not mx.array_equal(value, second[path]).item()] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_modules_steps_have_its_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a prompt that is longer than a window and whose tokens mlx-lm sorts, and of two decoded tokens."""
    monkeypatch.setattr(trial, "SHAPES", (len(PROMPT), 1, 1))
    model = small(name)
    assert fallen(model.model, [Candidate(host.block.module, host) for host in model.hosts()]) == {}
    assert all(mx.isfinite(each).all().item() for each in stock(name))


@pytest.mark.parametrize(("name", "declared"), DECLARED)
def test_a_variant_has_stocks_bits_or_says_why_not(name: str, declared: str, repository: Workspace) -> None:
    model, resolved = small(name), Catalog(repository, name).resolve(declared)
    known = kernels.load(repository)
    here = [known[use.kernel].declaration.mode[use.mode].backends for use in resolved.kernels]
    if not all("cpu" in backends for backends in here):
        assert all({"metal", "cuda"}.intersection(backends) for backends in here)
        return
    before, reason, patch = stock(name), "", None
    try:
        patch = model.patch(resolved, repository.kernels)
    except Unavailable as why:
        reason = str(why)
    if patch is None:
        assert len(reason.split()) > 3
        assert "object has no attribute" not in reason
        return
    try:
        patch.install(count=True)
        assert equal(said(model), before)
        assert all(patch.calls[site] for kernel in resolved.kernels for site in kernel.sites)
    finally:
        patch.undo()
    assert equal(model.logits((9,), 0), before[4:5])
