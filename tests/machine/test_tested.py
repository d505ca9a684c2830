"""A failure under other versions than those that were tested says so."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from zmlx_bench.machine.tested import PYTHONS, TESTED, others, remark, warning

ROOT = Path(__file__).resolve().parents[2]
MLX, MLX_LM = TESTED["mlx"].newest, TESTED["mlx-lm"].newest
RANGE = {name: str(tested) for name, tested in TESTED.items()}


@pytest.mark.parametrize("python", [f"{PYTHONS[0]}.7", "3.12.1", PYTHONS[1]])
@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_what_was_tested_needs_no_remark(python: str, end: str) -> None:
    mlx, mlx_lm = (getattr(TESTED[name], end) for name in ("mlx", "mlx-lm"))
    assert remark(mlx, mlx_lm, python) == warning(mlx, mlx_lm, python) == ""


@pytest.mark.parametrize(
    ("mlx", "mlx_lm", "python", "says"),
    [
        ("0.33.0", MLX_LM, "3.12", f"mlx 0.33.0, not {RANGE['mlx']}"),
        (f"{MLX}.post1", MLX_LM, "3.12", f"mlx {MLX}.post1, not {RANGE['mlx']}"),
        (f"{TESTED['mlx'].oldest}rc1", MLX_LM, "3.12", f"mlx {TESTED['mlx'].oldest}rc1, not {RANGE['mlx']}"),
        ("a fork", MLX_LM, "3.12", f"mlx a fork, not {RANGE['mlx']}"),
        (MLX, None, "3.12", f"mlx-lm None, not {RANGE['mlx-lm']}"),
        (
            "9",
            "8",
            "3.14.0rc1",
            f"mlx 9, not {RANGE['mlx']}; mlx-lm 8, not {RANGE['mlx-lm']}; Python 3.14.0rc1, not 3.11 to 3.13",
        ),
    ],
)
def test_what_was_not_is_named_with_what_was(mlx: str, mlx_lm: str | None, python: str, says: str) -> None:
    assert others(mlx, mlx_lm, python) == says
    assert remark(mlx, mlx_lm, python) == f" (under {says}, which zmlx was tested with)"
    assert warning(mlx, mlx_lm, python).startswith(f"{says}, which zmlx was tested with: ")


def test_what_is_installed_begins_with_the_oldest_and_has_room_for_the_next() -> None:
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [one for text in pinned["dependencies"] if (one := Requirement(text)).name in TESTED]
    assert len(found) == 3  # MLX for each system
    for one in found:
        tested = TESTED[one.name]
        assert tested.oldest in one.specifier
        assert tested.newest in one.specifier
        assert min(Version(of.version) for of in one.specifier) == Version(tested.oldest)
        release = Version(tested.newest).release
        assert one.specifier.contains(f"{release[0]}.{release[1] + 1}.0")
    assert pinned["requires-python"] == f">={PYTHONS[0]}"
    assert f'"{PYTHONS[1]}"' in (ROOT / ".github" / "workflows" / "tests.yml").read_text()


def test_what_is_built_for_one_version_is_built_for_the_newest() -> None:
    assert f'MLX_VERSION = "{MLX}"' in (ROOT / "kernels" / "_lib" / "extension" / "__init__.py").read_text()


def test_the_set_up_names_no_version() -> None:
    assert MLX not in (ROOT / "tools" / "setup.sh").read_text()


def test_the_readme_says_which_range_was_tested() -> None:
    said = " ".join((ROOT / "README.md").read_text().split())
    assert f"tested with MLX {RANGE['mlx']} and mlx-lm {RANGE['mlx-lm']}" in said
