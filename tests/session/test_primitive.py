"""The lab's primitive of a patched MLX, measured in an environment that brings it, beside an MLX that does not."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import lab_mlx
from tests.conftest import Zmlx
from tests.prompts import ONE
from tests.pythons import install, python
from tests.session.conftest import Finished, finished
from tests.wheels import MLX, wheel
from zmlx_bench import workspace as workspaces
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.measured import loader
from zmlx_bench.report import listings
from zmlx_bench.workspace import Workspace

VARIANT = "qwen_mlx_swiglu"
STARTED = "import mlx.core, lab_mlx; mlx.core.gather_qmm_swiglu = lab_mlx.primitive(lab_mlx.load({library!r}))\n"
DECLARED = f"""
[variant.patched]
why = "what does the primitive change?"
extends = "{VARIANT}"
environment = "lab"

[variant.asks]
why = "does the declaration alone stop a kernel that does not look for itself?"
kernels = {{ experts = "asks.primitive" }}
"""


def library(repository: Workspace) -> str:
    """Return the native extension, which stands in for the lab's Metal code; without a build the test is skipped."""
    loader.open_kernels(repository.kernels)
    native = importlib.import_module(f"{loader.PACKAGE}._lib.native")
    if reason := native.missing():
        pytest.skip(reason)
    return str(native.EXTENSION.library_path())


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory, zmlx: Callable[..., Any], repository: Workspace, small: str
) -> Finished:
    """One session: the variant in this environment, and in one whose MLX has the primitive under the lab's name."""
    folder = tmp_path_factory.mktemp("primitive")
    text = Path(lab_mlx.__file__).read_text()
    patch = {"lab_mlx.py": text, "zz_lab.pth": STARTED.format(library=library(repository))}
    there = python(folder / "lab")
    install(folder / "lab", wheel(folder, "lab-mlx", "1.0", patch))
    workspace = workspaces.create(folder / "ws")
    (workspace.variants / "environments.toml").write_text(f'[environment.lab]\npython = "{there}"\n')
    with (workspace.variants / "qwen3.toml").open("a") as file:
        file.write(DECLARED)
    asks = shutil.copytree(workspace.kernels / "mlx_gather_qmm_swiglu", workspace.kernels / "asks")
    (asks / "kernel.py").write_text("def bind(module, request):\n    raise RuntimeError('was bound')\n")
    done = zmlx(
        "run", "qwen3", "--checkpoint", small, "--tokens", "8", "--runs", "1", "--no-null", "--prompts", ONE,
        "--variants", f"{VARIANT},asks,patched", "--workspace", str(workspace.root),
    )  # fmt: skip
    return finished(workspace, done)


@pytest.mark.parametrize(("variant", "kernel"), [(VARIANT, "mlx_gather_qmm_swiglu"), ("asks", "asks")])
def test_an_mlx_without_it_is_unavailable_and_says_which_primitive_it_lacks(
    seen: Finished, variant: str, kernel: str
) -> None:
    capsule = seen.capsule(variant)
    assert capsule.status == "unavailable"
    (run,) = capsule.runs.variant
    asked = f"{kernel} needs gather_qmm_swiglu, which neither mlx.core nor mlx.core.fast of this MLX"
    assert run.message == f"{asked} ({MLX}) has"


def test_it_is_not_applied_where_it_is_not(seen: Finished, zmlx_inside: Zmlx) -> None:
    options = ("--checkpoint", "tiny", "--variant", "asks", "--workspace", str(seen.workspace.root))
    done = zmlx_inside("generate", "qwen3", *options, "--prompt", "hi")
    assert done.returncode != 0
    assert "asks cannot be applied: asks needs gather_qmm_swiglu, which neither" in done.stderr


def test_an_mlx_with_it_is_measured_and_its_tokens_are_stocks(seen: Finished) -> None:
    capsule = seen.capsule("patched")
    assert capsule.status == "ok"
    assert capsule.figures.fidelity is not None
    assert capsule.figures.fidelity.verdict == "identical"
    assert capsule.figures.calls_per_token["experts"] > 0
    assert [use.kernel for use in capsule.variant.kernels] == ["mlx_gather_qmm_swiglu"]
    environment = capsule.variant.environment
    assert environment is not None
    assert "lab-mlx" in [one.name for one in environment.distributions], "what brings it is recorded"
    assert check_workspace(seen.workspace, processes=1).findings == ()


def test_an_environment_says_which_primitives_its_mlx_has(seen: Finished, zmlx_inside: Zmlx) -> None:
    done = zmlx_inside("environments", "check", "lab", "--json", "--workspace", str(seen.workspace.root))
    assert json.loads(done.stdout)["primitives"] == {"gather_qmm_swiglu": "mlx.core"}, done.stderr
    rows = {row["variant"]: row["not_here"] for row in listings.variants(seen.workspace, "qwen3")}
    assert rows[VARIANT].startswith("mlx_gather_qmm_swiglu needs gather_qmm_swiglu, which neither")
    assert rows["patched"] is None
