"""Energy of the device that decodes: the GPU's counter on NVIDIA, the CPU packages' (RAPL) on the cpu backend.

NVIDIA's moves about ten times a second (on an H200), so that a decode of a second is known to about a tenth.
"""

from __future__ import annotations

from pathlib import Path

from zmlx_bench.machine import nvml
from zmlx_bench.schema.base import Backend

_POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Measures between two moments; None where no counter can be read, as RAPL's by who is not root."""

    def __init__(self, backend: Backend, powercap: Path = _POWERCAP) -> None:
        self._backend, self._powercap = backend, powercap
        # The first reading opens the counter, which takes longer than those that follow.
        self._begun = self._read()

    def start(self) -> None:
        """Begin."""
        self._begun = self._read()

    def stop(self) -> float | None:
        """Return the joules used since `start`."""
        begun, now = self._begun, self._read()
        if not begun or begun.keys() != now.keys():
            return None
        used = [now[name] - begun[name] for name in begun]
        # A counter that came round is behind where it began by its range.
        whole = [spent if spent >= 0 else spent + self._range(name) for name, spent in zip(begun, used, strict=True)]
        return round(sum(whole), 6) if min(whole) >= 0 else None

    def _read(self) -> dict[str, float]:
        """Return joules by counter; empty where there is none."""
        if self._backend == "cuda":
            joules = nvml.energy_j()
            return {} if joules is None else {"gpu": joules}
        if self._backend != "cpu":
            return {}
        found = {zone: _joules(self._powercap / zone / "energy_uj") for zone in self._packages()}
        known = {zone: joules for zone, joules in found.items() if joules is not None}
        return known if len(known) == len(found) else {}

    def _packages(self) -> list[str]:
        """Return the zones of whole CPU packages; those within them, and the platform's, would be counted twice."""
        names = sorted(self._powercap.glob("intel-rapl:*/name"))
        return [path.parent.name for path in names if (_text(path) or "").startswith("package")]

    def _range(self, zone: str) -> float:
        return _joules(self._powercap / zone / "max_energy_range_uj") or 0.0


def _joules(path: Path) -> float | None:
    text = _text(path)
    return int(text) / 1e6 if text is not None and text.isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
