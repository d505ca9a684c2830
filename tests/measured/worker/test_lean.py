"""The loop comes without transformers and the hub, and with them where a mlx-lm needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV

pytestmark = pytest.mark.process
IMPORT = "from zmlx_bench.measured.worker.lean import import_loop; import_loop(); import sys; "


def said(code: str, *folders: Path) -> str:
    """Return what Python prints with `folders` before all others."""
    env = {**QUIET_ENV, "PYTHONPATH": ":".join(map(str, folders))}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout


def module(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_neither_transformers_nor_what_it_imports_comes_with_mlx_lms_own_loop(tmp_path: Path) -> None:
    for name in ("torch", "tensorflow", "flax", "jax"):
        module(tmp_path, f"{name}/__init__.py", "__version__ = '9.0.0'\n")
        module(tmp_path, f"{name}-9.0.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0.0\n")
    heavy = "{'transformers', 'torch', 'tensorflow', 'flax', 'jax', 'huggingface_hub', 'httpx2', 'httpx'}"
    code = IMPORT + "from mlx_lm.generate import generate_step as step; " + (
        f"print(step.__module__, sorted({heavy} & sys.modules.keys()), any('lean' in str(f) for f in sys.meta_path))"
    )  # fmt: skip
    assert said(code, tmp_path) == "mlx_lm.generate [] False\n"
    whole = f"import mlx_lm.generate, sys; print(sorted({heavy} & sys.modules.keys()))"
    come = said(whole)
    assert "transformers" in come, "else there is nothing to leave out"
    assert "huggingface_hub" in come


def test_what_was_left_out_is_itself_again_for_who_imports_it() -> None:
    code = (
        "import transformers, huggingface_hub as hub; print([m.__version__[:1].isdigit() for m in (transformers, hub)])"
    )
    assert said(IMPORT + code) == "[True, True]\n"


def test_what_is_imported_already_stays_and_the_rest_is_left_out() -> None:
    code = (
        "import huggingface_hub as h; " + IMPORT + "print(sys.modules[h.__name__] is h, 'transformers' in sys.modules)"
    )
    assert said(code) == "True False\n"


def test_a_loop_that_works_with_transformers_as_it_is_imported_gets_it(tmp_path: Path) -> None:
    module(tmp_path, "transformers/__init__.py", "LIMIT = 41\n")
    module(tmp_path, "mlx_lm/__init__.py", "")
    module(tmp_path, "mlx_lm/generate.py", "from transformers import LIMIT\nmore = LIMIT + 1\n")
    assert said(IMPORT + "import mlx_lm.generate; print(mlx_lm.generate.more)", tmp_path) == "42\n"


def test_a_fault_of_the_loops_own_comes_through(tmp_path: Path) -> None:
    module(tmp_path, "mlx_lm/__init__.py", "import a_module_that_is_not_there\n")
    env = {**QUIET_ENV, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1
    assert "No module named 'a_module_that_is_not_there'" in done.stderr
