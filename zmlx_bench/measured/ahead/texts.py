"""The texts that MLX makes of custom CUDA kernels, as it prints them where it is asked to at a call."""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Callable
from typing import Any

import mlx.core as mx

_PRINTED = re.compile(rb"Generated source code for `([^`\n]+)`:\n```\n(.*?)\n```\n", re.DOTALL)


class Texts:
    """Takes the place of `mx.fast.cuda_kernel`: every kernel prints its text at every call; use as a context manager.

    Standard output goes to a file meanwhile. Kernels made before, or kept by name before, are not seen.
    """

    def __enter__(self) -> Texts:
        self._file = tempfile.TemporaryFile()
        self._output = os.dup(1)
        os.dup2(self._file.fileno(), 1)
        real: Callable[..., Any] = mx.fast.cuda_kernel
        self._real = real

        def told(*arguments: Any, **named: Any) -> Any:
            return functools.partial(real(*arguments, **named), verbose=True)

        mx.fast.cuda_kernel = told
        return self

    def __exit__(self, *_: object) -> None:
        mx.fast.cuda_kernel = self._real
        os.dup2(self._output, 1)
        os.close(self._output)
        self._file.close()

    def new(self) -> dict[bytes, str]:
        """Return the texts of the kernels called since the last time, with the kernels' names."""
        # The descriptors share one position, at which the next text is printed.
        self._file.seek(0)
        printed = self._file.read()
        self._file.seek(0)
        self._file.truncate()
        return {text: name.decode("ascii") for name, text in _PRINTED.findall(printed)}
