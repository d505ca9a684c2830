"""Asks a process of its own, which measures nothing, and gives back its one answer."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

from zmlx_bench.errors import CannotHere
from zmlx_bench.printable import said
from zmlx_bench.process import ending, last_line
from zmlx_bench.session.environment import child_environment, without_secrets


def answer_of(module: str, told: bytes, where: str, who: str, limit_s: float) -> dict[str, Any]:
    """Return the JSON object that `python -m module` prints once it has read `told`.

    CannotHere, beginning with `where` and calling the process `who`, where it fails or gives no such answer within
    `limit_s` seconds.
    """
    command = [sys.executable, "-m", module]
    try:
        done = subprocess.run(
            command, input=told, capture_output=True, env=child_environment(), timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotHere(f"{where}: {who} gave no answer within {limit_s:g} s") from None
    if done.returncode == 0:
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(found := json.loads(last_line(done.stdout)), dict):
                return found
    printed = without_secrets(done.stderr.decode("utf-8", "replace"))
    ended = said(f"{who} {ending(done.returncode)}\n{printed}")
    raise CannotHere(f"{where}: {ended}")
