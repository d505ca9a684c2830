"""Releases that a test takes from the package index: it is skipped where the index has none, not where one fails."""

from __future__ import annotations

import pytest

from zmlx_bench.bisect.index import Settings, released
from zmlx_bench.errors import ZmlxError


def needs(package: str, version: str, here: Settings | None = None) -> None:
    """Skip the test where pip's index cannot be asked, or has no wheel of this release for this Python and platform."""
    try:
        found = [one for one in released(package, here=here) if str(one.version) == version]
    except ZmlxError as error:
        pytest.skip(f"needs a package index with {package} {version}: {error}")
    if not any(one.installs for one in found):
        pytest.skip(f"needs a wheel of {package} {version} for this Python and platform, and the index has none")
