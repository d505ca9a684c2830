"""bfloat16 in NumPy: round to nearest, ties to even, by the bits of a float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def rounded(x: npt.ArrayLike) -> Floats:
    """The nearest bfloat16 of each float32, as float32."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    up = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    return ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)


def read(x: Any) -> Floats:
    """An MLX array as float32, exactly."""
    import mlx.core as mx

    return np.array(x.astype(mx.float32))
