"""Runs a system tool for a reading."""

from __future__ import annotations

import shutil
import subprocess


def output_of(*command: str, timeout_s: float = 30.0) -> str | None:
    """Return what `command` prints, or None when it is missing, fails or takes too long.

    The limit is for a command that hangs: on a busy machine a sound one takes seconds, and an answer that is missing
    would make another device of this one.
    """
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    # Not by the locale: a device's name is part of the group that its evidence belongs to.
    return done.stdout.decode("utf-8", "replace").strip()
