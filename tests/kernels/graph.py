"""What a plan of a graph takes of the extension, and NVIDIA's compiler for its text, without a GPU."""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


class Extension:
    """What a plan takes of the extension."""

    class Input:
        pass

    class Output:
        pass

    @dataclass(frozen=True)
    class Buffer:
        index: int

    @dataclass(frozen=True)
    class Number:
        index: int


def nvrtc() -> Any:
    """NVIDIA's compiler out of its wheel, with the folder of CUDA's headers; skips where either is not installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(each) / "cu13" for each in (spec.submodule_search_locations or [])] if spec is not None else []
    for folder in folders:
        library = folder / "lib" / "libnvrtc.so.13"
        if library.exists() and (folder / "include" / "cuda_bf16.h").exists():
            return ctypes.CDLL(str(library)), folder / "include"
    return pytest.skip("nvidia-cuda-nvrtc and nvidia-cuda-runtime are not installed")


def compile_text(text: str) -> None:
    """Compile a graph's program; fails with the compiler's log."""
    compiler, include = nvrtc()
    program = ctypes.c_void_p()
    assert compiler.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"graph.cu", 0, None, None) == 0
    options = [
        "--device-as-default-execution-space",
        "--std=c++17",
        f"--include-path={include}",
        "--gpu-architecture=sm_90a",
    ]
    given = (ctypes.c_char_p * len(options))(*[each.encode() for each in options])
    result = compiler.nvrtcCompileProgram(program, len(options), given)
    size = ctypes.c_size_t()
    compiler.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    compiler.nvrtcGetProgramLog(program, log)
    assert result == 0, log.value.decode()
