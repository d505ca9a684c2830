"""The device of the kernels' tests."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import pytest


@pytest.fixture(scope="module")
def gpu_as_default() -> Iterator[None]:
    """MLX's default device is the GPU while a file's tests run, and the CPU again for the other files."""
    mx.set_default_device(mx.gpu)
    yield
    mx.set_default_device(mx.cpu)
