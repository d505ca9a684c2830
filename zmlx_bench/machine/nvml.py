"""The energy counter of the GPU that MLX takes, from NVIDIA's management library, which comes with the driver.

`nvidia-smi` shows no such counter, and a process for each reading would run beside what is timed.
"""

from __future__ import annotations

import ctypes
import functools

from zmlx_bench.machine import nvidia

_LIBRARY = "libnvidia-ml.so.1"


class _Gpu:
    """A GPU as the library knows it."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle

    def energy_j(self) -> float | None:
        """Return joules since the driver was loaded, Volta and newer; None where the GPU does not count."""
        millijoules = ctypes.c_ulonglong()
        status = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(millijoules))
        return millijoules.value / 1e3 if status == 0 else None


def energy_j() -> float | None:
    """Return the joules that the GPU has used since the driver was loaded; None where nobody counts them."""
    gpu = _gpu(nvidia.first_visible())
    return None if gpu is None else gpu.energy_j()


@functools.cache
def _gpu(name: str | None) -> _Gpu | None:
    """Return the GPU with this index or UUID."""
    if name is None:
        return None
    try:
        library = ctypes.CDLL(_LIBRARY)
        handle = ctypes.c_void_p()
        if library.nvmlInit_v2() != 0:
            return None
        if name.isdigit():
            status = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(handle))
        else:
            status = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
    except (OSError, AttributeError):
        return None
    return _Gpu(library, handle) if status == 0 else None
