"""NVRTC, NVIDIA's compiler as a library, as far as MLX uses it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Compiled(NamedTuple):
    """Machine code for one architecture, and what it calls each kernel that was asked for."""

    code: bytes
    names: Mapping[str, str]


class Nvrtc:
    """The library in the file `path`; OSError where it cannot be loaded."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)

    def version(self) -> str:
        """Return the compiler's version, as `13.0`."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("Version", ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(
        self, text: bytes, file: str, kernels: Sequence[str], headers: Mapping[str, bytes], options: Sequence[str]
    ) -> Compiled:
        """Compile `text`, which calls itself `file`; RuntimeError with the compiler's log. Threads may at once."""
        program = ctypes.c_void_p()
        texts = (ctypes.c_char_p * len(headers))(*headers.values())
        names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
        self._call("CreateProgram", ctypes.byref(program), text, file.encode(), len(headers), texts, names)
        try:
            for kernel in kernels:
                self._call("AddNameExpression", program, kernel.encode())
            given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            if self._library.nvrtcCompileProgram(program, len(options), given) != 0:
                raise RuntimeError(self._bytes("ProgramLog", program).rstrip(b"\0").decode("utf-8", "replace"))
            called = {}
            for kernel in kernels:
                lowered = ctypes.c_char_p()
                self._call("GetLoweredName", program, kernel.encode(), ctypes.byref(lowered))
                called[kernel] = (lowered.value or b"").decode("ascii")
            return Compiled(self._bytes("CUBIN", program), called)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, what: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", program, ctypes.byref(size))
        found = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, found)
        return found.raw

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, f"nvrtc{name}")(*arguments)
        if status != 0:
            raise RuntimeError(f"nvrtc{name} failed with {status}")
