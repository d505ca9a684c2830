"""Asks nvidia-smi about the GPU that MLX takes, on a machine that may have several."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from zmlx_bench.machine.command import output_of


def first_visible() -> str | None:
    """Return index or UUID of the first GPU that CUDA_VISIBLE_DEVICES leaves, which MLX takes; None where it hides all.

    CUDA numbers GPUs of different models by speed and nvidia-smi by slot, unless CUDA_DEVICE_ORDER is PCI_BUS_ID.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return None if first in ("", "-1") else first


def visible() -> list[str]:
    """Return index or UUID of each GPU that CUDA_VISIBLE_DEVICES leaves, or of all that nvidia-smi lists without it."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return (output_of("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader") or "").split()
    gpus = [gpu.strip() for gpu in named.split(",")]
    # CUDA ignores what stands behind the first that is none.
    ends = next((number for number, gpu in enumerate(gpus) if gpu in ("", "-1")), len(gpus))
    return gpus[:ends]


def query(*fields: str) -> list[str] | None:
    """Return the values of nvidia-smi's `--query-gpu` fields, without units; None where it does not say."""
    line = _of_gpu(f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    return [value.strip() for value in line.splitlines()[0].split(",")] if line else None


def query_with_processes(*fields: str) -> tuple[list[str] | None, int | None]:
    """Return the values of these fields, and how many processes compute on the GPU; None where nvidia-smi does not say.

    It is asked for both at once, since it takes its time for each.
    """
    with ThreadPoolExecutor(1) as aside:
        listed = aside.submit(_of_gpu, "--query-compute-apps=pid", "--format=csv,noheader")
        values = query(*fields)
        processes = listed.result()
    return values, None if processes is None else len(processes.split())


def _of_gpu(*wanted: str) -> str | None:
    gpu = first_visible()
    one = output_of("nvidia-smi", *wanted, f"--id={gpu}") if gpu is not None else None
    # A slice of a GPU has a name that nvidia-smi cannot select by.
    return one if one is not None else output_of("nvidia-smi", *wanted)
