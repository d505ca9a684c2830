"""An environment that a session runs in is not removed; one that a process left when it ended is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Zmlx
from zmlx_bench import exit_codes
from zmlx_bench.environments import kept, used
from zmlx_bench.environments.kept import RECORD, Made
from zmlx_bench.errors import CannotHere
from zmlx_bench.files import dump_json, write_atomic
from zmlx_bench.machine import device
from zmlx_bench.schema.environment import Environment, MadeEnvironment

KEY = "0123456789abcdef"
PLAIN = Environment(
    asked="mlx==9", requirements=("mlx==9",), python="3.11.0", implementation="CPython", platform="made",
    distributions=(), packages={}, lacks=None, digest="0" * 64,
)  # fmt: skip


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """One in a cache of its own, of which a removal sees what is there: a record, whatever was installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(device, "folder", lambda: tmp_path / "locks")
    environment = PLAIN.model_copy(update={"digest": PLAIN.digest_of()})
    record = MadeEnvironment(environment=environment, made="2030-01-01T00:00:00Z", maker="nobody")
    write_atomic(kept.root() / KEY / RECORD, dump_json(record))
    return Made(environment, kept.root() / KEY / "bin" / "python")


def test_it_stays_while_a_session_runs_in_it(made: Made, zmlx_inside: Zmlx) -> None:
    first, second = used.use(made), used.use(made)
    assert first is not None
    assert second is not None
    first.release()
    refused = zmlx_inside("environments", "remove", KEY)
    assert refused.returncode == exit_codes.CANNOT
    assert f"environment {KEY}: process " in refused.stderr
    assert "measures in it; remove it when that has ended" in refused.stderr
    assert (made.folder / RECORD).exists()
    second.release()
    done = zmlx_inside("environments", "remove", KEY)
    assert done.returncode == 0, done.stderr
    assert not made.folder.exists()
    assert list(device.folder().iterdir()) == [], "what users left is swept"


def test_one_that_was_removed_meanwhile_is_not_used(made: Made) -> None:
    kept.remove(KEY)
    with pytest.raises(CannotHere, match="environment mlx==9: was removed meanwhile"):
        used.use(made)
    assert list(used.users(KEY)) == []


def test_its_owners_is_nobody_elses_to_remove(made: Made, tmp_path: Path) -> None:
    assert used.use(Made(made.environment, tmp_path / "fork" / "bin" / "python")) is None


def test_a_cache_that_is_named_from_here_is_found_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert kept.root() == tmp_path / "cache" / "zmlx" / "environments"
