"""What is held beside the package where MLX and mlx-lm do not go together as they are here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wheels import INSTALLED, MLX_LM, borrowed, of_index, wheel
from zmlx_bench.bisect.index import released
from zmlx_bench.bisect.places import beside, place, texts
from zmlx_bench.errors import CannotHere
from zmlx_bench.workspace import Workspace

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in of_index(tmp_path / "index", tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "index"


def mlx(index: Path, *versions: str) -> None:
    for version in versions:
        wheel(index, "mlx", version, {"zz_borrowed.pth": f"{INSTALLED}\n"})


def asked_for(index: Path, package: str) -> tuple[list[str], list[str]]:
    said: list[str] = []
    found = texts(Workspace(index), package, released(package), said.append)
    return [one.environment for one in found], said


def test_what_goes_together_as_it_is_here_is_held_so(index: Path) -> None:
    borrowed(index)
    mlx(index, "0.1")
    environments, said = asked_for(index, "mlx")
    assert environments[0] == "mlx==0.1"
    assert all(one.startswith("mlx==") for one in environments)
    assert not any("with another" in line for line in said)


def test_the_other_is_held_at_what_goes_with_the_older_end(index: Path) -> None:
    mlx(index, "1.0", "1.1")
    wheel(index, "mlx-lm", MLX_LM, {}, ("mlx>=1.1",))
    wheel(index, "mlx-lm", "0.9", {})
    environments, said = asked_for(index, "mlx")
    assert environments == ["mlx-lm==0.9,mlx==1.0", "mlx-lm==0.9,mlx==1.1"]
    assert sum("with another mlx-lm" in line for line in said) == 1
    one, other = (beside(place(Workspace(index), text, said.append).environment, "mlx") for text in environments)
    assert one == other
    assert one["mlx-lm"] == "0.9"


def test_where_nothing_goes_with_both_the_other_is_free_and_told(index: Path) -> None:
    mlx(index, "1.0", "1.1")
    wheel(index, "mlx-lm", MLX_LM, {}, ("mlx==1.1",))
    wheel(index, "mlx-lm", "0.9", {}, ("mlx==1.0",))
    environments, said = asked_for(index, "mlx")
    assert environments == ["mlx-lm,mlx==1.0", "mlx-lm,mlx==1.1"]
    found = [beside(place(Workspace(index), text, said.append).environment, "mlx")["mlx-lm"] for text in environments]
    assert found == ["0.9", MLX_LM]


def test_an_end_that_cannot_be_had_is_one_line(index: Path) -> None:
    borrowed(index)
    wheel(index, "part", "1.0", {})
    wheel(index, "part", "1.1", {}, ("nowhere==1",))
    with pytest.raises(CannotHere) as refused:
        asked_for(index, "part")
    assert "cannot be made" in str(refused.value)
    assert "\n" not in str(refused.value)
