"""What MLX gives its compiler beside a kernel's text: headers that it carries in itself, folders and options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from zmlx_bench.measured.ahead import elf

_FOLDER = b"mlx/backend/cuda/device/"
_CARRIED = "jit_source_"
"""Begins the names of the texts that MLX carries."""


def headers(library: Path) -> Mapping[str, bytes]:
    """Return the headers that the CUDA build of MLX carries in its library, by the names that they are included by.

    ValueError where they are not found there.
    """
    data = library.read_bytes()
    texts = elf.objects(data, _CARRIED.encode("ascii"))
    names = {match.decode("ascii") for match in re.findall(re.escape(_FOLDER) + rb"(?:\w+\.cuh|config\.h)(?=\0)", data)}
    found = {}
    for name in sorted(names):
        called = f"{_CARRIED}{Path(name).stem}"
        text = texts.get(f"_ZN3mlx4coreL{len(called)}{called}E")
        if text is None or not text.endswith(b"\0"):
            raise ValueError(f"{library}: does not carry {name}")
        found[name] = text[:-1]
    if not found:
        raise ValueError(f"{library}: carries no headers")
    return found


def options(library: Path, architecture: str) -> Sequence[str]:
    """Return MLX's options for its compiler. `architecture` is as `sm_90a`. ValueError where CUDA's headers are not."""
    root = library.parents[1]
    folders = [each for each in (root / "include", root / "include" / "cccl") if each.exists()]
    return [
        "--device-as-default-execution-space",
        f"--gpu-architecture={architecture}",
        *(f"--include-path={each}" for each in (*folders, _cuda(root))),
    ]


def _cuda(root: Path) -> Path:
    """Return the folder of CUDA's headers as MLX finds it."""
    wheel = root.parent / "nvidia" / "cu13" / "include"
    if wheel.exists():
        return wheel
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    path = Path(home) / "include"
    if not path.exists():
        raise ValueError("CUDA's headers are not there")
    return path
