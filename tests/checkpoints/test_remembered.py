"""A large file is hashed once: again where it changed, where what is remembered is no good, and on request."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zmlx_bench import files
from zmlx_bench.checkpoints import remembered

WEIGHTS = b"weights" * 1000
TRUE = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The files that were hashed; small ones are worth remembering here, and settled as soon as they are written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "WORTH", 1)
    monkeypatch.setattr(remembered, "SETTLED_NS", -1)
    found: list[Path] = []
    real: Callable[[Path], str] = files.sha256

    def counted(path: Path) -> str:
        found.append(path)
        return real(path)

    monkeypatch.setattr(files, "sha256", counted)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(WEIGHTS)
    return path


def memory(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.json"))


def test_once_by_whatever_path(hashed: list[Path], weights: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(weights)
    assert {remembered.sha256(path) for path in (weights, link, weights)} == {TRUE}
    assert hashed == [weights]
    assert remembered.sha256(weights, again=True) == TRUE
    assert hashed == [weights, weights]


def _same_size_and_time(path: Path) -> None:
    about = path.stat()
    path.write_bytes(WEIGHTS[:-1] + b"S")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def _in_its_place(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(WEIGHTS[::-1])
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(WEIGHTS + b"x"),
        lambda path: path.write_bytes(WEIGHTS[::-1]),
        _same_size_and_time,
        _in_its_place,
    ],
    ids=["longer", "same size", "same size and its time put back", "another file in its place"],
)
def test_again_where_it_changed(hashed: list[Path], weights: Path, change: Callable[[Path], object]) -> None:
    assert remembered.sha256(weights) == TRUE
    change(weights)
    assert remembered.sha256(weights) == hashlib.sha256(weights.read_bytes()).hexdigest() != TRUE
    assert len(hashed) == 2


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[]", b"null", b"{}", b'{"size": 7000, "sha256": "0"}', b"[" * 9000])
def test_a_memory_that_is_no_good_is_made_again(hashed: list[Path], weights: Path, tmp_path: Path, junk: bytes) -> None:
    remembered.sha256(weights)
    (place,) = memory(tmp_path)
    place.write_bytes(junk)
    assert remembered.sha256(weights) == TRUE
    assert remembered.sha256(weights) == TRUE
    assert len(hashed) == 2


def test_a_hash_that_is_cut_off_or_of_another_state_is_not_believed(
    hashed: list[Path], weights: Path, tmp_path: Path
) -> None:
    remembered.sha256(weights)
    (place,) = memory(tmp_path)
    for old, new in ((TRUE, TRUE[:-1]), ('"inode": ', '"inode": 1'), (TRUE, TRUE.upper())):
        place.write_text(place.read_text().replace(old, new))
        assert remembered.sha256(weights) == TRUE
    assert len(hashed) == 4


def test_nothing_is_remembered_of_a_file_that_may_change_unseen(
    hashed: list[Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "SETTLED_NS", 3600 * 10**9)
    assert remembered.sha256(weights) == remembered.sha256(weights) == TRUE
    assert memory(tmp_path) == []
    monkeypatch.setattr(remembered, "SETTLED_NS", -1)
    monkeypatch.setattr(remembered, "WORTH", len(WEIGHTS) + 1)
    assert remembered.sha256(weights) == TRUE
    assert memory(tmp_path) == [], "a small file is hashed as soon as looked up"


def test_a_cache_that_cannot_be_written_or_found_costs_time_and_nothing_else(
    hashed: list[Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert remembered.sha256(weights) == TRUE

    def homeless(name: str) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(remembered, "user_cache_path", homeless)
    assert remembered.sha256(weights) == TRUE


@pytest.mark.process
def test_processes_that_remember_at_once_leave_a_whole_memory(weights: Path, tmp_path: Path) -> None:
    text = (
        "import sys; from pathlib import Path; from zmlx_bench.checkpoints import remembered as r\n"
        "r.WORTH, r.SETTLED_NS = 1, -1\n"
        "print({r.sha256(Path(sys.argv[1]), again=bool(i % 2)) for i in range(50)})"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path / "cache")}
    started = [
        subprocess.Popen([sys.executable, "-c", text, str(weights)], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert {each.communicate(timeout=120)[0].strip() for each in started} == {str({TRUE})}
    (place,) = memory(tmp_path)
    assert TRUE in place.read_text()
    assert [path.name for path in place.parent.iterdir()] == [place.name]
