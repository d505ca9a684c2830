"""What the comparisons share: the Macs whose kernels run, and MLX's arrays on the CPU."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


@pytest.fixture(params=[pytest.param("macos14"), pytest.param("macos26", marks=pytest.mark.slow)])
def mac(request: pytest.FixtureRequest) -> Any:
    """A `Mac` for each wheel; `make test` runs the older one, whose code the other has too (test_library.py)."""
    # Imported here: where the shim cannot run, its modules skip the tests, which a conftest must not.
    from tests.air.run import Mac

    return Mac(request.param)


@pytest.fixture(params=["fused", pytest.param("separate", marks=pytest.mark.slow)])
def either(mac: Any, request: pytest.FixtureRequest) -> Any:
    """Each wheel's kernels, with fmuladd lowered to one rounding and to two."""
    return mac._replace(contraction=request.param)
