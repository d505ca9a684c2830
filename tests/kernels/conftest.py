"""The device and the models of the kernels' tests."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import pytest

from tests.tiny import FEW_LAYERS, Tiny


@pytest.fixture(scope="module")
def gpu_as_default() -> Iterator[None]:
    """MLX's default device is the GPU while a file's tests run, and the CPU again for the other files."""
    mx.set_default_device(mx.gpu)
    yield
    mx.set_default_device(mx.cpu)


@pytest.fixture(scope="session", params=["qwen3", "glm47"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    """The first layers of the tiny model of each family: every layer of a kind takes a kernel alike."""
    return Tiny.load(request.param, FEW_LAYERS)
