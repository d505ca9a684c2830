"""`zmlx kernels new`: what it writes is declared, in the project's style, and overwrites nothing; that it works,
and that its own test finds a wrong kernel, test_guide.py shows."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.bf16 import read
from tests.kernels.draws import combine_inputs, combined
from tests.shim.run import run_kernel
from tests.shim.source import Words
from zmlx_bench import files
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.measured import loader
from zmlx_bench.templates import new_kernel
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    made = make_workspace()
    new_kernel.write(made, "begun")
    return made


@pytest.fixture
def kernel(place: Workspace, repository: Workspace) -> Iterator[Any]:
    """The new kernel's module; the repository's kernels are open again afterwards."""
    loader.open_kernels(place.kernels)
    yield importlib.import_module("zmlx_kernels.begun.kernel")
    loader.open_kernels(repository.kernels)


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_its_variants_are_declared(place: Workspace, family: str) -> None:
    catalog = Catalog(place, family)
    assert [k.mode for name in ("begun", "begun_fp32") for k in catalog.resolve(name).kernels] == ["stock", "fp32"]
    assert all(catalog.missing_on(catalog.resolve("begun"), backend) is None for backend in ("cpu", "cuda", "metal"))


def test_it_is_in_the_style_of_the_project(place: Workspace, repository: Workspace) -> None:
    config = str(repository.root / "pyproject.toml")
    made = [str(place.kernels / "begun"), str(place.root / "tests")]
    # What the configuration says of paths in the project.
    for command in (["check", "--extend-per-file-ignores", "test_*.py:D,kernel.py:ARG001"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", config, "--no-cache", *made],
            cwd=repository.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", ["metal", "cuda"])
@pytest.mark.parametrize(("mode", "arithmetic"), [("stock", "stock"), ("fp32", "fp32_no_fma")])
@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_the_gpu_sources_have_the_roundings_that_they_declare(
    kernel: Any, monkeypatch: pytest.MonkeyPatch, words: Words, mode: str, arithmetic: str, family: str
) -> None:
    mx.set_default_device(mx.cpu)
    text = (kernel.HERE / ("kernel.metal" if words == "metal" else "kernel.cu")).read_text()

    def in_shim(**asked: Any) -> list[mx.array]:
        asked["inputs"] = dict(zip(("y", "scores"), asked["inputs"], strict=True))
        asked["outputs"] = {"out": (asked.pop("output_shapes")[0], asked.pop("output_dtypes")[0])}
        return run_kernel(text, words=words, **asked)

    monkeypatch.setattr(kernel, "compiled", lambda _: in_shim)
    for batch, d in ((4, 512), (3, 300)):
        y, scores = combine_inputs(family, batch, d=d)
        out = kernel.launch(words, mode, y, scores)
        np.testing.assert_array_equal(read(out), combined(arithmetic, y, scores))


@pytest.mark.parametrize("name", ["", "My", "9lives", "with-dash", "a/b", "..", "baseline", "promoted", "x" * 51])
def test_a_name_that_cannot_be_used(place: Workspace, name: str) -> None:
    with pytest.raises(UnusableInput, match="must begin with a small letter"):
        new_kernel.write(place, name)


def test_nothing_is_overwritten(place: Workspace) -> None:
    taken = (("begun", "is there already"), ("moe_combine", "is there already"), ("qwen_native", "has a variant"))
    for name, says in taken:
        with pytest.raises(UnusableInput, match=says):
            new_kernel.write(place, name)
    test = place.root / "tests" / "kernels" / "test_mine.py"
    test.write_text("mine\n")
    with pytest.raises(UnusableInput, match="is there already"):
        new_kernel.write(place, "mine")
    assert test.read_text() == "mine\n"
    assert not (place.kernels / "mine").exists()


def test_a_disk_that_refuses_leaves_nothing(fresh_workspace: Workspace) -> None:
    (fresh_workspace.root / "tests").write_text("a file where a folder has to be\n")
    before = (fresh_workspace.variants / "qwen3.toml").read_bytes()
    with pytest.raises(CannotHere, match=r"test_begun\.py"):
        new_kernel.write(fresh_workspace, "begun")
    assert not (fresh_workspace.kernels / "begun").exists()
    assert (fresh_workspace.variants / "qwen3.toml").read_bytes() == before


def test_an_interrupt_leaves_nothing(fresh_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in fresh_workspace.variants.glob("*.toml")}
    write = files.write_atomic

    def interrupted(path: Path, data: bytes) -> None:
        if path.name == "qwen3.toml" and data != before[path]:
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(files, "write_atomic", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new_kernel.write(fresh_workspace, "begun")
    assert not (fresh_workspace.kernels / "begun").exists()
    assert not list((fresh_workspace.root / "tests").rglob("*.py"))
    assert {path: path.read_bytes() for path in before} == before


def test_the_command_names_what_it_wrote(zmlx_inside: Callable[..., Any], fresh_workspace: Workspace) -> None:
    done = zmlx_inside("kernels", "new", "begun", "--json", cwd=fresh_workspace.root)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert all((fresh_workspace.root / path).is_file() for path in told["files"])
    assert told["variants"] == ["begun", "begun_fp32"]
    again = zmlx_inside("kernels", "new", "begun", cwd=fresh_workspace.root)
    assert (again.returncode, again.stdout) == (3, "")
    shown = zmlx_inside("kernels", "new", "another", cwd=fresh_workspace.root)
    assert shown.stdout.endswith(f"next: python -m pytest {Path('tests/kernels/test_another.py')}\n")
    afar = zmlx_inside("kernels", "new", "third", "--workspace", str(fresh_workspace.root), cwd=Path("/"))
    assert f"\nnext: cd {fresh_workspace.root} && python -m pytest tests/kernels/test_third.py\n" in afar.stdout
