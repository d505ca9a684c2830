"""Builds the native extension for the mlx of the running interpreter: `python kernels/_lib/native/build.py`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from zmlx_bench.measured import loader

if __name__ == "__main__":
    loader.open_kernels(Path(__file__).resolve().parents[2])
    native = importlib.import_module(f"{loader.PACKAGE}._lib.native")
    sys.exit(importlib.import_module(f"{loader.PACKAGE}._lib.extension.build").main(native.EXTENSION))
