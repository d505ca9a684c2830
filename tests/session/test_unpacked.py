"""A model whose weights are not packed is told what to do, where nothing serves it and where its sites are listed."""

from __future__ import annotations

import pytest

from zmlx_bench.errors import CannotHere
from zmlx_bench.schema.kernel import Site
from zmlx_bench.schema.session import FoundSites
from zmlx_bench.session.sites import Survey, applicable, unpacked


def found(*sites: Site, sizes: str = "") -> FoundSites:
    return FoundSites(sites=sites, module="M", first="model", modules=1, sizes=sizes, why_not=None)


def test_the_remedy_is_said_where_no_projection_is_quantised() -> None:
    with pytest.raises(CannotHere, match=r"no projection of it is quantised.*`mlx_lm.convert .* -q` packs them"):
        applicable(Survey((found("residual_norm"),), {}), [])


@pytest.mark.parametrize("site", ["linear", "experts"])
def test_nothing_is_said_of_packed_ones(site: Site) -> None:
    packed = found(site, sizes="64 x 64, 4 bit affine in 32s")
    assert unpacked([found("residual_norm"), packed]) == ()
    with pytest.raises(CannotHere, match=r"here: none is declared$"):
        applicable(Survey((packed,), {}), [])
