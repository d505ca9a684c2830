from __future__ import annotations

import pytest
from platformdirs import user_cache_path as of_platformdirs

from zmlx_bench.measured.user_cache import user_cache_path


@pytest.mark.parametrize("variable", [None, "", " ", "/var/tmp/caches"])
def test_it_is_where_earlier_builds_lie(variable: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if variable is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert user_cache_path("zmlx") == of_platformdirs("zmlx")
