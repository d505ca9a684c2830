"""What the tests of the measured room share."""

from __future__ import annotations

import pytest

from tests.tiny import FEW_LAYERS, Tiny


@pytest.fixture(scope="session", params=["qwen3", "glm47"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    """The first layers of the tiny model of each family: every layer of a kind takes a kernel alike."""
    return Tiny.load(request.param, FEW_LAYERS)
