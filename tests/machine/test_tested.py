"""A failure under other versions than those that were tested says so."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from zmlx_bench.machine.tested import PYTHONS, TESTED, others, remark

ROOT = Path(__file__).resolve().parents[2]
MLX, MLX_LM = TESTED["mlx"], TESTED["mlx-lm"]


@pytest.mark.parametrize("python", [f"{PYTHONS[0]}.7", "3.12.1", PYTHONS[1]])
def test_what_was_tested_needs_no_remark(python: str) -> None:
    assert remark(MLX, MLX_LM, python) == ""


@pytest.mark.parametrize(
    ("mlx", "mlx_lm", "python", "says"),
    [
        ("0.33.0", MLX_LM, "3.12", f"mlx 0.33.0, not {MLX}"),
        (MLX, None, "3.12", f"mlx-lm None, not {MLX_LM}"),
        ("9", "8", "3.14.0rc1", f"mlx 9, not {MLX}; mlx-lm 8, not {MLX_LM}; Python 3.14.0rc1, not 3.11 to 3.13"),
    ],
)
def test_what_was_not_is_named_with_what_was(mlx: str, mlx_lm: str | None, python: str, says: str) -> None:
    assert others(mlx, mlx_lm, python) == says
    assert remark(mlx, mlx_lm, python) == f" (under {says}, which zmlx was tested with)"


def test_they_are_the_versions_that_are_pinned_and_tried() -> None:
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"mlx-lm=={MLX_LM}" in pinned["dependencies"]
    assert any(one.startswith(f"mlx=={MLX};") for one in pinned["dependencies"])
    assert pinned["requires-python"] == f">={PYTHONS[0]}"
    assert f'"{PYTHONS[1]}"' in (ROOT / ".github" / "workflows" / "tests.yml").read_text()
