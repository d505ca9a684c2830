"""The versions that zmlx was tested with: under others what fails may be theirs."""

from __future__ import annotations

TESTED = {"mlx": "0.32.4", "mlx-lm": "0.32.2"}
PYTHONS = ("3.11", "3.13")
"""The oldest and the newest."""


def others(mlx: str | None, mlx_lm: str | None, python: str) -> str:
    """Return the versions of these that zmlx was not tested with, and which it was; empty where there is none."""
    found = {"mlx": mlx, "mlx-lm": mlx_lm}
    odd = [f"{name} {found[name]}, not {version}" for name, version in TESTED.items() if found[name] != version]
    if not _number(PYTHONS[0]) <= _number(python) <= _number(PYTHONS[1]):
        odd.append(f"Python {python}, not {' to '.join(PYTHONS)}")
    return "; ".join(odd)


def remark(mlx: str | None, mlx_lm: str | None, python: str) -> str:
    """Return what a failure's line says of such versions, in brackets after a space; empty where there is none."""
    odd = others(mlx, mlx_lm, python)
    return f" (under {odd}, which zmlx was tested with)" if odd else ""


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
