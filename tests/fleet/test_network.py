"""What the tests of a pulled cable are made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fleet import network

pytestmark = pytest.mark.process


def test_a_network_that_is_made_in_part_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this system lets nobody make one, it fails sooner."""
    monkeypatch.setattr(network, "_SWITCH", "a_name_too_long_for_a_device")
    with pytest.raises(pytest.skip.Exception, match="needs network namespaces"), network.network():
        pass
    assert list(Path("/run/netns").glob(f"zmlx-{os.getpid()}-*")) == []
