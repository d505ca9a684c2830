"""The decided workspace of the ledger's tests."""

from __future__ import annotations

from tests.ledger.conftest import _decided, decided

__all__ = ["_decided", "decided"]
