"""What the GPU kernels share: one kernel object a source, and words that both forms of a source have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import gpu
from zmlx_bench.catalog import kernels as catalog
from zmlx_bench.workspace import Workspace

launch: Any = gpu.module("_lib.gpu.launch")
KERNELS = Path(__file__).parents[2] / "kernels"
LOOKED_FOR = re.compile(r"\w+_(?:shape|strides|ndim)\b")
FUNCTION = re.compile(r"^METAL_FUNC \w+ (\w+)\(", re.MULTILINE)


def test_metals_own_words_and_ours_all_have_a_cuda_form() -> None:
    ours = set(FUNCTION.findall(launch.WORDS["metal"]))
    assert ours
    assert ours <= set(FUNCTION.findall(launch.WORDS["cuda"]))


def test_arithmetic_is_rounded_step_by_step_in_both_forms() -> None:
    assert "#pragma METAL fp contract(off)" in launch.WORDS["metal"]
    assert "return __fmul_rn(a, b)" in launch.WORDS["cuda"]
    assert "return __fadd_rn(a, b)" in launch.WORDS["cuda"]


def test_a_kernel_object_is_made_once() -> None:
    source = gpu.module("moe_combine.gpu").COMBINE
    assert launch._kernel(source, "metal") is launch._kernel(source, "metal")


def test_a_text_by_reference_names_what_mlx_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = gpu.module("_lib.gpu.text")
    monkeypatch.setattr(text, "user_cache_path", lambda name: tmp_path / name)
    sources = [source.read_text() for source in sorted(KERNELS.glob("*/*.metal"))]
    asked = [set(LOOKED_FOR.findall(text.short(source))) for source in sources]
    assert any(asked)
    for source, names in zip(sources, asked, strict=True):
        reference = text.by_reference(source)
        assert set(LOOKED_FOR.findall(reference)) == names
        assert Path(reference.split('"')[1]).read_text() == text.short(source)


@pytest.mark.skipif(mx.metal.is_available(), reason="Metal is here")
def test_a_launch_without_its_gpu_raises() -> None:
    plan = gpu.module("moe_combine.gpu").plan("stock", mx.zeros((1, 1, 4, 8)), mx.zeros((1, 1, 4)))
    with pytest.raises((RuntimeError, ValueError)):
        mx.eval(launch.runner("metal")(plan))


def test_every_metal_source_belongs_to_a_declared_kernel_that_hashes_the_shared_words(repository: Workspace) -> None:
    declared = catalog.load(repository)
    folders = {path.parent.name for path in Path(repository.kernels).glob("*/*.metal")}
    assert folders
    for folder in folders:
        assert "_lib" in declared[folder].declaration.uses
