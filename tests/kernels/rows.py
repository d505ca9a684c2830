"""NumPy on rows of float32 with the C library's own exp, which is what the shim's kernels call."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

import numpy as np

from tests.kernels.bf16 import Floats

_libm = ctypes.CDLL(ctypes.util.find_library("m"))


def libm(name: str, x: Any) -> Floats:
    """Apply a float function of the C library, such as `expf`, to every element."""
    function = getattr(_libm, name)
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    flat = [function(float(value)) for value in np.asarray(x, np.float32).reshape(-1)]
    return np.array(flat, np.float32).reshape(np.shape(x))


def exp_fast(x: Any, words: str) -> Floats:
    """`exp_fast` of the sources: CUDA's goes through exp2."""
    x = np.asarray(x, np.float32)
    return libm("expf", x) if words == "metal" else libm("exp2f", x * np.float32(1.4426950408889634))


def serial_sum(x: Floats) -> Floats:
    """Add along the last axis from 0, in order, each sum rounded to float32."""
    total = np.zeros(x.shape[:-1], np.float32)
    for i in range(x.shape[-1]):
        total = total + x[..., i]
    return total


def butterfly_sum(x: Floats) -> Floats:
    """Add 32 lanes (..., 32) with strides 16, 8, 4, 2, 1."""
    for stride in (16, 8, 4, 2, 1):
        x = x + x[..., np.arange(32) ^ stride]
    return x[..., 0]
