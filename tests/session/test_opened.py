"""Kernels that read what they do not import: a real session, and what becomes of the arm."""

from __future__ import annotations

import py_compile
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV, Zmlx
from tests.planted import declaration
from tests.prompts import ONE
from tests.session.conftest import Finished, finished
from zmlx_bench.workspace import Workspace

HEAD = '''"""Planted by a test."""
import pathlib
from zmlx_bench.measured.api import Binding

HERE = pathlib.Path(__file__).resolve().parent

def stock(y, scores):
    return (y * scores[..., None]).sum(axis=-2).astype(y.dtype)

def bind(module, request):
    BODY
    return Binding(stock)
'''
BODIES = {
    "reads_another": '(HERE.parent / ("other" + "_kernel") / "secret.cu").read_text()',
    "reads_beside": '(HERE.parents[1] / "tuned.json").read_text()',
    "imports_another": '__import__("importlib").import_module("zmlx_kernels.other_kernel.hidden")',
    "reads_its_own": 'print((HERE / "own.cu").read_text())',
    "writes": '(HERE.parents[1] / "log.txt").write_text("bound")',
}
OPENED = {
    "reads_another": "kernels/other_kernel/secret.cu",
    "reads_beside": "tuned.json",
    "imports_another": "kernels/other_kernel/hidden.py",
}


def plant(workspace: Workspace, name: str) -> None:
    folder = workspace.kernels / name
    folder.mkdir()
    (folder / "kernel.py").write_text(HEAD.replace("BODY", BODIES[name]))
    (folder / "kernel.toml").write_text(declaration())
    (folder / "own.cu").write_text("// mine")
    with (workspace.variants / "qwen3.toml").open("a") as file:
        file.write(f'\n[variant.{name}]\nwhy = "planted"\nkernels = {{ combine = "{name}" }}\n')


@pytest.fixture(scope="module")
def measured(make_workspace: Callable[..., Workspace], zmlx: Zmlx, small: str) -> Finished:
    workspace = make_workspace()
    other = workspace.kernels / "other_kernel"
    other.mkdir()
    (other / "secret.cu").write_text("// not asked for")
    (other / "hidden.py").write_text("x = 1\n")
    py_compile.compile(str(other / "hidden.py"))
    (workspace.root / "tuned.json").write_text("{}")
    for name in BODIES:
        plant(workspace, name)
    done = zmlx(
        "run", "qwen3", "--checkpoint", small, "--tokens", "3", "--runs", "1", "--no-null", "--prompts", ONE,
        "--variants", ",".join(BODIES), "--workspace", str(workspace.root), env=QUIET_ENV,
    )  # fmt: skip
    return finished(workspace, done)


@pytest.mark.parametrize("name", OPENED)
def test_a_file_that_no_import_leads_to_fails_the_arm(measured: Finished, name: str) -> None:
    capsule = measured.capsule(name)
    assert capsule.status == "crash"
    said = capsule.runs.variant[0].message or ""
    assert f"opened {OPENED[name]}, which its kernels do not import" in said


@pytest.mark.parametrize("name", sorted(BODIES.keys() - OPENED.keys()))
def test_what_belongs_to_the_kernel_and_what_it_writes_do_not(measured: Finished, name: str) -> None:
    capsule = measured.capsule(name)
    assert capsule.status == "ok"
    identity = capsule.variant.identity
    assert identity is not None
    assert identity.kernels.keys() == {name}


def test_the_worker_tells_its_sources_and_not_its_environment(measured: Finished) -> None:
    told = [event["event"]["files"] for event in measured.events() if event.get("event", {}).get("event") == "opened"]
    assert told
    for files in told:
        names = {Path(file).name for file in files}
        assert {"apply.py", "generate.py", "pipe.py"} <= names
        assert all(Path(file).suffix != ".pyc" for file in files)
        assert not any("site-packages" in file or file.endswith("config.json") for file in files)


def test_a_compiled_module_without_its_source_is_told_as_it_is(tmp_path: Path) -> None:
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    (kernels / "hidden.py").write_text("x = 1\n")
    py_compile.compile(str(kernels / "hidden.py"), cfile=str(kernels / "hidden.pyc"))
    (kernels / "hidden.py").unlink()
    script = (
        "import sys, pathlib; from zmlx_bench.measured.worker.opened import Opened; opened = Opened(); "
        f"sys.path.insert(0, {str(kernels)!r}); import hidden; print(opened.files(pathlib.Path({str(tmp_path)!r}), []))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert str(kernels / "hidden.pyc") in done.stdout
