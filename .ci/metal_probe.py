"""Ends with 0 where MLX runs a kernel of ours on Metal; else its last line says why not."""

from __future__ import annotations

import sys
from typing import Any

import mlx.core as mx


def main() -> int:
    """Add two numbers on the GPU, and name the device."""
    if not mx.metal.is_available():
        print("MLX finds no Metal device")
        return 1
    add: Any = mx.fast.metal_kernel(
        name="probe_add", input_names=["a", "b"], output_names=["sum"],
        source="uint i = thread_position_in_grid.x; sum[i] = a[i] + b[i];",
    )  # fmt: skip
    a, b = mx.arange(8, dtype=mx.float32), mx.full((8,), 0.5)
    (found,) = add(
        inputs=[a, b], grid=(8, 1, 1), threadgroup=(8, 1, 1), output_shapes=[(8,)], output_dtypes=[mx.float32]
    )
    if found.tolist() != [i + 0.5 for i in range(8)]:
        print(f"a kernel that adds gave {found.tolist()}")
        return 1
    print(f"Metal runs kernels here: {mx.device_info()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
