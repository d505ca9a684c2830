"""The limit of open files: mlx-lm 0.32.2 raises it to 2,048 (hard: 4,096) at import, and ends where that is refused."""

from __future__ import annotations

import resource
from pathlib import Path

NEEDED = 4096
"""The hard limit that mlx-lm sets; https://github.com/ml-explore/mlx-lm/issues/1589."""
_MAY_RAISE = 1 << 24
"""CAP_SYS_RESOURCE in Linux's sets of capabilities."""


def why_not() -> str | None:
    """Return why mlx-lm cannot be imported under this process's limit, with the remedy; None where it can."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= NEEDED or _may_raise():
        return None
    return (
        f"mlx-lm needs a hard limit of {NEEDED:,} open files and this process may have {hard:,}; raise it "
        f"(docker run --ulimit nofile={NEEDED}:{NEEDED}; systemd: LimitNOFILE={NEEDED}; "
        "/etc/security/limits.conf: nofile)"
    )


def _may_raise() -> bool:
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & _MAY_RAISE)
