"""Which of MLX's backends can run here, from what is installed and what hardware answers."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys

from zmlx_bench.errors import CannotHere, unknown
from zmlx_bench.machine import nvidia, open_files
from zmlx_bench.machine.command import output_of
from zmlx_bench.schema.base import Backend

ORDER: tuple[Backend, ...] = ("metal", "cuda", "cpu")


def named(name: str) -> Backend:
    """Return the backend called `name`; UnusableInput when there is none."""
    for backend in ORDER:
        if backend == name:
            return backend
    raise unknown("backend", name, ORDER)


def installed(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def edited_in_place(distribution: str) -> bool:
    """Return whether a distribution is installed from a folder that it is edited in: its version says little of it."""
    try:
        told = importlib.metadata.distribution(distribution).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return False
    return re.search(r'"editable"\s*:\s*true', told or "") is not None


def why_not(backend: Backend) -> str | None:
    """Say why `backend` cannot run here, with the remedy; None when it can."""
    if installed("mlx") is None:
        return "mlx is not installed; run `make setup` or `pip install zmlx-bench`"
    if (reason := open_files.why_not()) is not None:
        return reason
    mac = sys.platform == "darwin"
    if backend == "metal":
        if mac and platform.machine() == "x86_64" and output_of("sysctl", "-n", "sysctl.proc_translated") == "1":
            return "this Python runs translated, which has no Metal for MLX; install one for arm64 and run `make setup`"
        return None if mac and platform.machine() == "arm64" else "metal needs a Mac with Apple silicon"
    if backend == "cuda":
        if mac or output_of("nvidia-smi", "-L") is None:
            return "cuda needs Linux with an NVIDIA GPU that nvidia-smi lists"
        if nvidia.first_visible() is None:
            return "CUDA_VISIBLE_DEVICES hides every GPU; name one in it, or unset it"
        if installed("mlx-cuda-13") is None:
            return "MLX's CUDA build is not installed; run `make setup` (it puts mlx[cuda13] in place of mlx[cpu])"
        return None
    if not mac and installed("mlx-cpu") is None and installed("mlx-cuda-13") is None:
        return "MLX has no backend installed; run `make setup` or `pip install 'mlx[cpu]'`"
    return None


def choose(wanted: str) -> Backend:
    """Return the backend for `--backend`: the one named, or for `auto` the first of metal, cuda, cpu that runs.

    Raises CannotHere with the reason when it cannot run here.
    """
    if wanted == "auto":
        for backend in ORDER:
            if why_not(backend) is None:
                return backend
        raise CannotHere(f"no backend runs here: {why_not('cpu')}")
    backend = named(wanted)
    if (reason := why_not(backend)) is not None:
        raise CannotHere(f"--backend {wanted}: {reason}")
    return backend
