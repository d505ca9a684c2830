"""The versions that zmlx was tested with: under others what fails may be theirs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

PYTHONS = ("3.11", "3.13")
"""The oldest and the newest."""


@dataclass(frozen=True)
class Tested:
    """The range of versions of a distribution that was tested."""

    oldest: str
    newest: str

    def __contains__(self, version: str | None) -> bool:
        try:
            return version is not None and Version(self.oldest) <= Version(version) <= Version(self.newest)
        except InvalidVersion:
            return False

    def __str__(self) -> str:
        return self.newest if self.oldest == self.newest else f"{self.oldest} to {self.newest}"


def _read() -> dict[str, Tested]:
    text = Path(__file__).with_name("tested.toml").read_text(encoding="utf-8")
    return {name: Tested(**of) for name, of in tomllib.loads(text).items()}


TESTED = _read()


def others(mlx: str | None, mlx_lm: str | None, python: str) -> str:
    """Return the versions of these that zmlx was not tested with, and which it was; empty where there is none."""
    found = {"mlx": mlx, "mlx-lm": mlx_lm}
    odd = [f"{name} {found[name]}, not {tested}" for name, tested in TESTED.items() if found[name] not in tested]
    if not _number(PYTHONS[0]) <= _number(python) <= _number(PYTHONS[1]):
        odd.append(f"Python {python}, not {' to '.join(PYTHONS)}")
    return "; ".join(odd)


def remark(mlx: str | None, mlx_lm: str | None, python: str) -> str:
    """Return what a failure's line says of such versions, in brackets after a space; empty where there is none."""
    odd = others(mlx, mlx_lm, python)
    return f" (under {odd}, which zmlx was tested with)" if odd else ""


def warning(mlx: str | None, mlx_lm: str | None, python: str) -> str:
    """Return what is said before anything is measured under such versions; empty where there is none."""
    odd = others(mlx, mlx_lm, python)
    return (
        f"{odd}, which zmlx was tested with: roundings may differ, kernels that are built for one version do not run, "
        "and the evidence is a group of its own"
        if odd
        else ""
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
