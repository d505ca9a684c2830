"""The modules of a layer to which kernels are bound: of every packaged family, those of a block's stand-in too."""

from __future__ import annotations

import mlx.core as mx
import pytest

from tests.bench.tiny_sizes import SIZES
from tests.families import family as family_of
from tests.small_families import NAMES, sizes_of
from zmlx_bench.bench import modules
from zmlx_bench.bench.modules import Layer
from zmlx_bench.measured.inputs import Sizes, ready

STANDS_IN = {"gpt_oss": "mlp", "minimax": "block_sparse_moe", "gemma4_text": "experts"}
"""What the block is called whose parts are known by other names."""


def layer(family: str) -> Layer:
    mx.set_default_device(mx.cpu)
    sizes = SIZES[family] if family in SIZES else sizes_of(family)
    return modules.build(family_of(family), 3, sizes, whole_vocabulary=False)


@pytest.mark.parametrize("family", [*SIZES, *NAMES])
def test_every_run_of_steps_has_named_places_whose_copies_give_their_bits(family: str) -> None:
    made = layer(family)
    runs = {run.sites for host in made.hosts for run in host.block.runs()}
    assert runs
    for sites in runs:
        for place in made.places(sites):
            assert place.name, sites
            assert place.span is not None
            inputs = place.span.draw(place.module, Sizes(made.config, 2, 21))
            stock, copied = (
                place.span.stock(module)(**ready(inputs)) for module in (place.module, modules.clone(place.module))
            )
            for ours, theirs in zip(copied, stock, strict=True):
                assert mx.array_equal(ours, theirs, equal_nan=True), (sites, place.name)


@pytest.mark.parametrize(("family", "name"), STANDS_IN.items())
def test_a_stand_in_goes_by_its_blocks_name(family: str, name: str) -> None:
    assert {place.name for place in layer(family).places(("experts",))} == {name}
