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
    """Each wheel's kernels. `make test` runs the older one's: test_library.py says that the other's code is the same."""
    return Mac(request.param)
