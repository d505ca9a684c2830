"""Whether the machine is as cool as it was: by macOS's thermal pressure, else by the hottest sensor or the GPU's."""

from __future__ import annotations

from zmlx_bench.schema.machine import MachineState

PRESSURES = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""What macOS calls its levels, from 0."""
_NEAR_C = 2.0
"""An idle sensor comes and goes by about as much."""


def known(state: MachineState) -> bool:
    """Whether the machine tells how hot it is."""
    return state.thermal_pressure is not None or state.temperature_c is not None


def warmer(now: MachineState, then: MachineState) -> bool:
    """Whether the machine is warmer than it was; False where it does not tell."""
    if now.thermal_pressure is not None and then.thermal_pressure is not None:
        return PRESSURES.index(now.thermal_pressure) > PRESSURES.index(then.thermal_pressure)
    if now.temperature_c is not None and then.temperature_c is not None:
        return now.temperature_c > then.temperature_c + _NEAR_C
    return False


def words(state: MachineState) -> str:
    """Return what the machine tells of its heat."""
    if state.thermal_pressure is not None:
        return f"thermal pressure {state.thermal_pressure}"
    return "nothing" if state.temperature_c is None else f"{state.temperature_c:g} °C"
