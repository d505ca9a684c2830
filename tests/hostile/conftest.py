"""The decided workspace that the ledger's tests plant faults in."""

from __future__ import annotations

from tests.ledger.conftest import _decided, decided

__all__ = ["_decided", "decided"]
