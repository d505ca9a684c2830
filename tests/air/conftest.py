"""What the comparisons share: the Macs whose kernels run, and MLX's arrays on the CPU."""

from __future__ import annotations

import mlx.core as mx
import pytest

from tests.air.run import Mac


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


@pytest.fixture(params=[pytest.param("macos14"), pytest.param("macos26", marks=pytest.mark.slow)])
def mac(request: pytest.FixtureRequest) -> Mac:
    """Each wheel's kernels; `make test` runs the older one's, whose code is the other's too (test_library.py)."""
    return Mac(request.param)


@pytest.fixture(params=["fused", pytest.param("separate", marks=pytest.mark.slow)])
def either(mac: Mac, request: pytest.FixtureRequest) -> Mac:
    """Each wheel's kernels, with fmuladd lowered to one rounding and to two."""
    return mac._replace(contraction=request.param)
