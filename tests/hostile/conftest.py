"""The decided workspace that the ledger's tests plant faults in, and the same with evil text."""

from __future__ import annotations

from tests.hostile.evil import evil
from tests.ledger.conftest import _decided, decided

__all__ = ["_decided", "decided", "evil"]
