"""What the GPU kernels share: one kernel object a source, and words that both forms of a source have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import gpu

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
    sources = [source.read_text() for source in sorted(KERNELS.glob("*/*.gpu"))]
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


@pytest.mark.parametrize("make", ["runner", "settler"])
def test_a_body_that_is_metals_alone_by_its_name_runs_nowhere_else(make: str) -> None:
    settle: Any = gpu.module("_lib.gpu.settle")
    source = gpu.module("gather_qmm_swiglu.gpu").SOURCE
    plan = launch.Launch(source, [], [(1,)], [mx.float32], (1, 1, 1), (1, 1, 1), ())
    with pytest.raises(launch.Unavailable, match=r"swiglu\.metal is Metal's alone; .* named swiglu\.gpu"):
        (launch if make == "runner" else settle).__dict__[make]("cuda")(plan)


def test_a_shared_body_under_metals_name_says_how_to_call_it(tmp_path: Path) -> None:
    (tmp_path / "mine.metal").write_text("out[0] = 1;")
    with pytest.raises(ImportError, match=r"mine\.metal: is Metal's alone by its name; .* is mine\.gpu"):
        launch.read_source(tmp_path, "mine", (), ("out",))


@pytest.mark.parametrize("comment", ["// x_shape\n", "/* x_shape\n x_strides */"])
def test_what_a_comment_names_is_not_handed_over(comment: str) -> None:
    assert gpu.module("_lib.gpu.text").short(f"{comment}out[0] = x[0];").strip() == "out[0] = x[0];"


@pytest.mark.skipif(mx.metal.is_available() or mx.cuda.is_available(), reason="a GPU is here")
def test_the_shared_experts_of_a_mac_can_be_put_together_elsewhere() -> None:
    """A CPU's device has another architecture or none: benchmarks/launches.py counts Metal's launches there."""
    assert gpu.module("shared_experts.gpu").generation(launch.architecture()) == 0


METAL_TEXTS = sorted(path for end in ("*.metal", "*.gpu", "*metal*.h") for path in KERNELS.rglob(end))


def test_contraction_is_switched_at_file_scope_only_and_off_again_at_the_end() -> None:
    """Others have measured that Metal's compiler follows the pragma there, and nobody whether it does in a block."""
    switched = 0
    for path in METAL_TEXTS:
        text, last = gpu.module("_lib.gpu.text").short(path.read_text()), "off"
        for found in re.finditer(r"#pragma METAL fp contract\((\w+)\)", text):
            before = text[: found.start()]
            assert before.count("{") == before.count("}"), f"{path.name}: inside a block"
            switched, last = switched + 1, found[1]
        assert last == "off", f"{path.name}: what comes after it would contract"
    assert switched > 2


def test_a_header_without_its_comments_is_the_same_text() -> None:
    """On Metal MLX copies it at every call; a line of the preprocessor must stay a line."""
    headers = [path.read_text() for path in METAL_TEXTS if path.suffix == ".h"]
    assert len(headers) > 2
    for header in headers:
        short: str = gpu.module("_lib.gpu.text").short(header)
        assert "//" not in short
        assert len(short) < len(header)
        lines = [line.strip() for line in header.splitlines() if line.strip().startswith("#")]
        assert [line for line in short.splitlines() if line.startswith("#")] == lines
