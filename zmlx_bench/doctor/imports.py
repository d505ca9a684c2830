"""Whether what a worker imports can be imported: tried in a process of its own, which may die of it."""

from __future__ import annotations

import subprocess
import sys

from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.machine import built
from zmlx_bench.machine.tested import TESTED
from zmlx_bench.printable import said
from zmlx_bench.process import ending

_CODE = "import mlx.core, mlx_lm.generate, zmlx_bench.measured.worker.job"
_LONGEST_S = 300.0
_SUBJECT = "mlx and mlx-lm"


def observation() -> Observation:
    """Say whether mlx and mlx-lm can be imported as a worker does, from the working directory; if not, why."""
    if without := built.lacking():
        return Observation(subject="Python", level="problem", found=without[0], remedy=without[1])
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _broken(f"their import does not come to an end ({_LONGEST_S:g} s)")
    if done.returncode == 0:
        return Observation(subject=_SUBJECT, level="good", found="can be imported")
    why = said(f"{ending(done.returncode)}\n{done.stderr}")
    return _broken(f"cannot be imported: {why}")


def _broken(found: str) -> Observation:
    pinned = " ".join(f"'{name}=={tested.newest}'" for name, tested in TESTED.items())
    remedy = (
        f"make setup, or pip install --force-reinstall {pinned}, with a Python for this machine's processor; "
        "no file in the working directory or on PYTHONPATH may have the name of a library"
    )
    return Observation(subject=_SUBJECT, level="problem", found=found, remedy=remedy)
