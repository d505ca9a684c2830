"""What the Metal launches over packed weights share: their header and the constants of their loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx

from ..packings import Packing
from .launch import Source
from .metal_qmv import LANES, ROWS, Template, read_qmv

_HEADER = (Path(__file__).resolve().parent / "metal_packed.h").read_text()


def read_packed(folder: Path, name: str, inputs: Sequence[str], output: str) -> Source:
    """Read `<name>.metal` from `folder` as a source over metal_qmv.h and metal_packed.h."""
    return read_qmv(folder, name, inputs, output, _HEADER)


def loop(packing: Packing, dtype: mx.Dtype, n: int, k: int) -> Template:
    """Return the constants for `n` rows of `k` weights: MLX takes its fast kernel where both sizes fill its tile.

    Read in 0.32.4's binaries: a tile of the fast kernel is two words a lane wide, 512 weights of 4 bits, 256 of 8.
    """
    a_word = 32 // packing.bits
    words = 2 if n % 8 == 0 and k % (2 * a_word * LANES) == 0 else 1
    return [
        ("T", dtype),
        ("N", n),
        ("K", k),
        ("VALUES", words * a_word),
        ("ROWS", ROWS),
        ("BITS", packing.bits),
        ("GROUP", packing.group_size),
        ("FLOATS", packing.mode != "affine"),
    ]
