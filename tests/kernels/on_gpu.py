"""What the tests on a GPU share: `pytestmark = on_gpu.ANY`, or `on_gpu.NVIDIA` where a kernel is CUDA's alone."""

from __future__ import annotations

import mlx.core as mx
import pytest

BACKEND = "metal" if mx.metal.is_available() else "cuda"


def _marks(found: bool, reason: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.gpu, pytest.mark.skipif(not found, reason=reason), pytest.mark.usefixtures("gpu_as_default")]


ANY = _marks(mx.metal.is_available() or mx.cuda.is_available(), "no GPU that MLX can use")
NVIDIA = _marks(mx.cuda.is_available(), "no NVIDIA GPU that MLX can use")
