"""The exit codes of `zmlx`: a contract, and the only place where they stand."""

DONE = 0
"""The command did what it was asked; `run` recorded its session, whatever the verdict."""

NO = 1
"""The command worked and the answer is no: `check` found something, `replay` disagrees, the ends of `bisect` are the
same, a promotion does not hold for `upgrade-check`."""

INCONCLUSIVE = 2
"""`replay`, `bisect` or `upgrade-check` could not tell."""

UNUSABLE = 3
"""Unusable input or usage (click's own 2 is remapped to this)."""

CANNOT = 4
"""This machine cannot do it."""

INTERRUPTED = 130
"""Stopped by SIGINT (Ctrl-C)."""

TERMINATED = 143
"""Stopped by SIGTERM."""
