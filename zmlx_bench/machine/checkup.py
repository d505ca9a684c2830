"""Findings about a machine's fitness to measure, each with its remedy."""

from __future__ import annotations

import platform
import shutil
import sys
from typing import Literal

import psutil

from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import state
from zmlx_bench.schema.base import NonEmpty, StrictModel

TESTED = {"mlx": "0.32.4", "mlx-lm": "0.32.2"}
_ENOUGH_GB = 2.0
_QUIET_LOAD = 0.5


class Finding(StrictModel):
    """One thing looked at."""

    subject: NonEmpty
    level: Literal["good", "note", "problem"]
    """A note weakens measurements or limits what can be run; a problem prevents measuring."""
    found: NonEmpty
    remedy: str = ""


def findings() -> list[Finding]:
    """Look at everything and return what was found, in a fixed order."""
    try:
        backend = backends.choose("auto")
    except CannotHere as error:
        return [Finding(subject="backend", level="problem", found=str(error)), *_versions()]
    now = state.read(backend)
    return [
        Finding(subject="backend", level="good", found=backend),
        *_other_backends(),
        *_versions(),
        _memory(),
        _load(now.load_average),
        _power(now.power_source),
        _heat(now.thermal_pressure, now.temperature_c, now.throttled),
        _compiler(),
    ]


def _other_backends() -> list[Finding]:
    found: list[Finding] = []
    for name in ("metal", "cuda"):
        reason = backends.why_not(backends.named(name))
        if reason is not None:
            found.append(Finding(subject=f"backend {name}", level="note", found=f"not here: {reason}"))
    return found


def _versions() -> list[Finding]:
    found: list[Finding] = []
    for name, tested in TESTED.items():
        version = backends.installed(name)
        if version == tested:
            found.append(Finding(subject=name, level="good", found=version))
        else:
            remedy = f"pip install '{name}=={tested}'"
            text = f"{version or 'not installed'}; zmlx was tested with {tested}"
            found.append(
                Finding(subject=name, level="problem" if version is None else "note", found=text, remedy=remedy)
            )
    return found


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    if free < _ENOUGH_GB:
        text = f"{free:.1f} GB available; even a tiny session wants {_ENOUGH_GB:g}"
        return Finding(subject="memory", level="problem", found=text, remedy="close other programs")
    return Finding(subject="memory", level="good", found=f"{free:.1f} GB available")


def _load(load: float | None) -> Finding:
    if load is None:
        return Finding(subject="background load", level="note", found="unknown")
    if load > _QUIET_LOAD:
        return Finding(
            subject="background load",
            level="note",
            found=f"{load:.2f} (one-minute average)",
            remedy="stop other work while measuring: noise widens intervals until nothing can be decided",
        )
    return Finding(subject="background load", level="good", found=f"{load:.2f} (one-minute average)")


def _power(source: str | None) -> Finding:
    if source == "battery":
        return Finding(subject="power", level="note", found="on battery", remedy="plug in: batteries lower the clocks")
    return Finding(subject="power", level="good", found=source or "no battery")


def _heat(pressure: str | None, temperature: float | None, throttled: bool | None) -> Finding:
    reading = pressure or (f"{temperature:g} C" if temperature is not None else "not reported by this platform")
    if throttled:
        return Finding(
            subject="heat",
            level="note",
            found=f"{reading}; clocks are held back",
            remedy="let it cool, or use --cooldown",
        )
    return Finding(subject="heat", level="good", found=reading)


def _compiler() -> Finding:
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return Finding(subject="C++ compiler", level="good", found=name)
    how = "xcode-select --install" if sys.platform == "darwin" else "install g++ (Debian: apt-get install g++)"
    needed = "MLX compiles its fused CPU kernels with it while running, and the native kernels need it"
    level: Literal["note", "problem"] = "note" if platform.system() == "Darwin" else "problem"
    return Finding(subject="C++ compiler", level=level, found=f"none; {needed}", remedy=how)
