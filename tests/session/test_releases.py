"""Released versions from the package index, in environments of their own: recorded, compared and checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUIET_ENV
from tests.from_index import needs
from tests.session.conftest import finished
from tests.wheels import MLX, MLX_LM
from zmlx_bench import workspace as workspaces
from zmlx_bench.ledger.check.workspace import check_workspace

pytestmark = pytest.mark.slow
OTHERS = {"mlx": "0.32.3", "mlx_lm": "0.32.1"}


def test_an_earlier_mlx_and_an_earlier_mlx_lm_are_measured_beside_those_here(
    tmp_path: Path, zmlx: Callable[..., Any]
) -> None:
    for package, version in OTHERS.items():
        needs(package, version)
    workspace = workspaces.create(tmp_path / "ws")
    done = zmlx(
        "run", "qwen3", "--checkpoint", "tiny", "--tokens", "8", "--runs", "2", "--prompts", "great_wall,lighthouse",
        "--environment", f"mlx=={OTHERS['mlx']}", "--environment", f"mlx-lm=={OTHERS['mlx_lm']}",
        "--environment", f"mlx=={MLX}", "--workspace", str(workspace.root),
        env={**QUIET_ENV, "XDG_CACHE_HOME": str(tmp_path / "cache")}, timeout=1500,
    )  # fmt: skip
    seen = finished(workspace, done)
    versions = {}
    for name in (f"in_mlx-{OTHERS['mlx']}", f"in_mlx-lm-{OTHERS['mlx_lm']}", f"in_mlx-{MLX}"):
        capsule = seen.capsule(name)
        assert capsule.status == "ok", capsule.runs.variant
        assert capsule.figures.fidelity is not None
        assert capsule.variant.environment is not None
        versions[name] = tuple(capsule.variant.environment.version(package) for package in ("mlx", "mlx_lm"))
        wheels = [one for one in capsule.variant.environment.distributions if one.name in ("mlx", "mlx-lm")]
        assert all(one.wheel_sha256 and one.record_sha256 for one in wheels)
    assert list(versions.values()) == [(OTHERS["mlx"], MLX_LM), (MLX, OTHERS["mlx_lm"]), (MLX, MLX_LM)]
    same = seen.capsule(f"in_mlx-{MLX}").figures.fidelity
    assert same is not None
    assert same.verdict == "identical", "the same versions in a second environment are like a null arm"
    assert check_workspace(workspace, processes=1).findings == ()
