"""The packed weights of a MoE block with a shared expert, as the launches name them."""

from __future__ import annotations

_PARTS = ("w", "s", "b")
GATES = [f"{name}_{part}" for name in ("gate", "up", "shared_gate", "shared_up") for part in _PARTS]
DOWNS = [f"{name}_{part}" for name in ("down", "shared_down") for part in _PARTS]
