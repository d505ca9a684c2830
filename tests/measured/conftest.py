"""What the tests of the measured room share."""

from __future__ import annotations

import pytest

from tests import small
from tests.tiny import Tiny


@pytest.fixture(scope="session", params=["qwen3", "glm47"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    """The smallest model of each family: it is looked at for whether its bits change, not for what it says."""
    return Tiny.load(request.param, checkpoint=small.folder(request.param))
