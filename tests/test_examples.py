"""Every example runs as it stands; one without a test of its name, here or in a file of its own, fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests.conftest import QUIET_ENV
from tests.docs.blocks import blocks
from tests.use.promoted import promote, promotion
from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.machine import facts
from zmlx_bench.measured import loader
from zmlx_bench.measured.api import BindRequest, Unavailable
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.iterdir() if path.name not in ("README.md", "__pycache__"))


@pytest.mark.parametrize("name", NAMES)
def test_every_example_has_a_test_and_a_line(name: str) -> None:
    own = Path(__file__).with_name(f"test_{name}.py")
    assert callable(globals().get(f"test_{name}")) or own.is_file(), f"examples/{name}: write test_{name}"
    assert f"| [{name}" in (EXAMPLES / "README.md").read_text()


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="the promotion made up here is a CPU's")
def test_apply(fresh_workspace: Workspace) -> None:
    promote(fresh_workspace, promotion(fresh_workspace, "qwen3", "qwen_qkv_joined"))
    model = locate("qwen3", "tiny", facts.read("cpu")).path
    done = _run([sys.executable, str(EXAMPLES / "apply.py"), str(model)], fresh_workspace.root)
    said, text = done.split("\n", 1)
    assert said.startswith("applied: qwen_qkv_joined: promoted for qwen3 tiny")
    assert len(text.split()) > 5


@pytest.mark.slow
def test_new_kernel(tmp_path: Path, repository: Workspace) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (page,) = blocks(EXAMPLES / "new_kernel" / "README.md")
    _run(["bash", "-euc", "\n".join(line.text for line in page.lines)], tmp_path)
    (path,) = (tmp_path / "build" / "lab" / "capsules").glob("*/*_compiled_norm.json")
    figures = json.loads(path.read_text())["figures"]
    assert figures["fidelity"]["verdict"] == "identical"
    assert figures["calls_per_token"]["residual_norm"] > 0


def test_new_kernel_says_what_it_cannot_serve(make_workspace: Callable[..., Workspace], repository: Workspace) -> None:
    place = make_workspace()
    (place.kernels / "compiled_norm").symlink_to(EXAMPLES / "new_kernel")
    loader.open_kernels(place.kernels)
    try:
        import zmlx_kernels.compiled_norm.kernel as kernel

        with pytest.raises(Unavailable, match="this is a Linear"):
            kernel.bind(nn.Linear(4, 4), BindRequest(("residual_norm",), "stock", "cpu"))
    finally:
        loader.open_kernels(repository.kernels)


def _run(command: list[str], where: Path) -> str:
    """Run a command in a folder, with `zmlx` on the path; return what it printed."""
    environment = {**QUIET_ENV, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
