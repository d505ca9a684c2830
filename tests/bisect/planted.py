"""Wheels of a tiny package that changes what the stock model does, by its version."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.wheels import wheel

PACKAGE = "zmlx-planted"
_HOOK = '''
"""Wraps the model of mlx-lm as it is imported."""
import importlib.abc, importlib.util, sys, time

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "mlx_lm.models.qwen3_moe":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def planted(module):
            execute(module)
            wrap(module.Model)
        spec.loader.exec_module = planted
        return spec

def wrap(model):
    stock = model.__call__
    def call(self, *args, **kwargs):
        return change(lambda: stock(self, *args, **kwargs))
    model.__call__ = call

'''
_SLOWER = """
last = [None]
def change(step):
    now = time.perf_counter()
    if last[0] is not None:
        until = time.thread_time() + min({by} * (now - last[0]), 0.05)
        while time.thread_time() < until:
            pass
    last[0] = time.perf_counter()
    return step()
"""
"""Longer by a share of the time since the last step, measured without what was added. Time of the processor: asleep, or
while another thread has it, the step's own work would go on beside it and hide it."""
_CHANGES = {
    "nothing": "def change(step):\n    return step()\n",
    # Logits that are nearer than an eighth become ties.
    "rounding": (
        "def change(step):\n    import mlx.core as mx\n"
        "    out = step()\n    return (mx.round(out * 4) / 4).astype(out.dtype)\n"
    ),
    "slower": _SLOWER.format(by=0.11),
    "much slower": _SLOWER.format(by=1.5),
    "broken": "raise ImportError('planted: it does not load')\n",
}


def on_one_processor() -> None:
    """Keep this process and its children to one processor, where the system lets them choose.

    On two that others keep busy, processes of a tiny model differed by half from one to the next, whatever they ran; on
    one they do not. benchmarks/records/planted-bisect.md tells of it.
    """
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def plant(folder: Path, versions: Mapping[str, str]) -> Path:
    """Write a wheel for each version that does what is named, and return their folder."""
    for version, does in versions.items():
        text = f"{_HOOK}{_CHANGES[does]}\nsys.meta_path.insert(0, Finder())\n"
        if does == "broken":
            # What a .pth file raises is only printed; the model's module shall raise it.
            text = f"{_HOOK}def wrap(model):\n    {_CHANGES[does]}\nsys.meta_path.insert(0, Finder())\n"
        files = {"zmlx_planted.py": text, "zmlx_planted.pth": "import zmlx_planted\n"}
        wheel(folder, PACKAGE, version, files)
    return folder
