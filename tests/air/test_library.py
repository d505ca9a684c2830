"""MLX's Mac wheels as they are read here: what is in them, and that both have the same code."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.air import library
from tests.air.run import assembly

pytest.importorskip("llvmlite")
NAMES = [
    *(f"rms{dtype}" for dtype in ("bfloat16", "float16")),
    *(f"block_softmax_precise_{dtype}" for dtype in ("bfloat16", "float16")),
    *(f"rope_{one}{dtype}" for one in ("", "single_") for dtype in ("bfloat16", "float16")),
    *(f"carg_block_sort_{dtype}_uint32_bn32_tn4" for dtype in ("bfloat16", "float16", "float32")),
    *(f"{row}_reduce_small_1_reduce_sum{dtype}" for row in ("row", "col") for dtype in ("bfloat16", "float32")),
    *(f"v_Sigmoid{dtype}{dtype}" for dtype in ("bfloat16", "float16", "float32")),
    *(f"vv_{step}bfloat16" for step in ("Add", "Multiply")),
    *(f"{form}_Multiply{dtype}" for form in ("g1", "g2", "g3", "vs") for dtype in ("bfloat16", "float32")),
    *(f"affine_gather_qmv{fast}_{dtype}_t_gs_64_b_4" for fast in ("", "_fast") for dtype in ("bfloat16", "float16")),
    *(f"affine_qmv{fast}_bfloat16_t_gs_64_b_4_batch_0_pr_0_hgs_0_r_4" for fast in ("", "_fast")),
    *(f"affine_qmv_wide_bfloat16_t_gs_64_b_4_nv_{rows}_kl_8_batch_0" for rows in (2, 3, 4)),
    "affine_qmv_bfloat16_t_gs_64_b_4_batch_1_pr_0_hgs_0_r_4",
]


def code(build: Any, name: str) -> str:
    """A kernel without what names the language, the compiler and the system it is for."""
    lines = assembly(build, name).splitlines()
    return "\n".join(line for line in lines if not re.match(r"target triple|!1?\d = |!air|!llvm", line))


def test_the_wheels_are_of_the_mlx_that_is_pinned() -> None:
    assert version("mlx") == library.VERSION


def test_both_wheels_have_the_same_code() -> None:
    assert [name for name in NAMES if code("macos14", name) != code("macos26", name)] == []
    assert "fmuladd" in code("macos14", "affine_gather_qmv_fast_bfloat16_t_gs_64_b_4")


def test_a_kernel_that_is_not_in_the_library_is_named() -> None:
    with pytest.raises(KeyError, match="rmsfloat8"):
        library.bitcode("macos14", "rmsfloat8")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another user's empty cache."""
    monkeypatch.setattr(library, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path


def test_a_machine_without_the_registry_skips_with_the_reason(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    reason = library._path.__wrapped__("macos14")
    assert re.match(
        r"MLX's Mac wheel for macosx_14_0_arm64 cannot be had here: ERROR: No matching distribution", reason
    )
    assert not list(elsewhere.rglob("*.metallib"))


def test_a_wheel_with_another_hash_is_no_library(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: tuple[str, ...], **_: Any) -> subprocess.CompletedProcess[str]:
        Path(command[command.index("--dest") + 1], "mlx_metal.whl").write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(library.subprocess, "run", pip)
    with pytest.raises(AssertionError, match=r"mlx_metal\.whl has sha256 [0-9a-f]{64}, not 8019b2"):
        library._path.__wrapped__("macos14")
    assert not list(elsewhere.rglob("*.metallib"))
