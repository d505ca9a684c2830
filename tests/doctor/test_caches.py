"""What doctor says that zmlx keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.doctor import caches, checkup
from zmlx_bench.machine.tested import TESTED
from zmlx_bench.measured.user_cache import user_cache_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return user_cache_path("zmlx")


def put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * size)


def test_a_cache_that_is_not_there_holds_nothing(cache: Path) -> None:
    assert caches.observation().found == f"{cache} holds nothing"


def test_each_kind_is_told_with_what_it_takes(cache: Path, tmp_path: Path) -> None:
    put(cache / "environments" / "0123" / "lib" / "mlx.so", 3_000_000)
    put(cache / "native" / "a" / "native.so", 400_000)
    put(cache / "graph" / "a" / "graph.so", 1_100_000)
    put(cache / "later", 200_000)
    put(tmp_path / "elsewhere" / "large", 9_000_000)
    (cache / "environments" / "0123" / "python").symlink_to(tmp_path / "elsewhere")
    found = caches.observation()
    assert found.level == "good"
    assert found.found.startswith(f"4.7 MB in {cache}: environments 3.0 MB, extension builds 1.5 MB, later 0.2 MB; ")


@pytest.mark.process
@pytest.mark.parametrize(("version", "level"), [("0.99.0", "note"), (TESTED["mlx"].oldest, "good")])
def test_a_release_that_nobody_tried_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, level: str
) -> None:
    about = tmp_path / f"mlx-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mlx\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = next(one for one in checkup.observations() if one.subject == "mlx")
    assert (found.level, version in found.found) == (level, True)
