"""What kernels ask of MLX: where it is found, and what is said where it is not."""

from __future__ import annotations

import io

import mlx.core as mx
import pytest
from rich.console import Console, RenderableType

from tests.wheels import MLX
from zmlx_bench.catalog import available
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.doctor import kernels as doctor
from zmlx_bench.errors import UnusableInput
from zmlx_bench.measured import primitives
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.variant import KernelUse, Variant
from zmlx_bench.report import listings
from zmlx_bench.workspace import Workspace

DECLARATION = """schema_version = 1
summary = "asks for primitives"
sites = ["experts"]
max_tokens = "any"
needs = {needs}
[mode.stock]
numerics = "stock"
backends = ["cpu", "cuda", "metal"]
"""


def asking(workspace: Workspace, needs: str) -> kernel_catalog.Kernel:
    """Write a kernel with these needs, its declaration behind the byte-order mark that some editors write."""
    folder = workspace.kernels / "asks"
    folder.mkdir()
    (folder / "kernel.toml").write_text("\ufeff" + DECLARATION.format(needs=needs), encoding="utf-8")
    (folder / "kernel.py").write_text("def bind(module, request):\n    return None\n")
    return kernel_catalog.load(workspace)["asks"]


def text_of(shown: RenderableType) -> str:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_a_primitive_is_looked_for_in_core_and_then_in_fast() -> None:
    assert primitives.present("gather_qmm") == "mlx.core"
    assert primitives.present("metal_kernel") == "mlx.core.fast"
    assert primitives.present("gather_qmm_nothing") is None
    assert primitives.present("float32") is None, "a dtype is no function"
    assert primitives.require_primitive("k", "rms_norm") is mx.fast.rms_norm


def test_what_all_is_lacking_is_named_with_the_mlx_that_lacks_it() -> None:
    assert primitives.lacking(["gather_qmm", "rope"]) is None
    both = f"needs one, two, which neither mlx.core nor mlx.core.fast of this MLX ({MLX}) has"
    assert primitives.lacking(["one", "rope", "two"]) == both
    with pytest.raises(Unavailable, match=r"^k needs one, which neither"):
        primitives.require_primitive("k", "one")


def using(*needs: str) -> Variant:
    return Variant(
        "v", "qwen3", (KernelUse("other", "stock", ("qkv",)), KernelUse("k", "stock", ("experts",), needs=needs))
    )


def test_a_variant_is_unavailable_where_mlx_lacks_what_a_kernel_needs() -> None:
    primitives.check_needs(using())
    primitives.check_needs(using("gather_qmm", "rope"))
    with pytest.raises(Unavailable, match=r"^k needs nothing_such, which neither"):
        primitives.check_needs(using("gather_qmm", "nothing_such"))


def test_needs_reach_the_measured_process(repository: Workspace) -> None:
    catalog = Catalog(repository, "glm47")
    told = catalog.plain(catalog.resolve("glm_mlx_swiglu"))
    assert [use.needs for use in told.kernels] == [("gather_qmm_swiglu",)]
    told = catalog.plain(catalog.resolve("glm_qkv_joined"))
    assert [use.needs for use in told.kernels] == [()]


def test_a_kernel_is_asked_for_its_needs_before_its_code_runs(fresh_workspace: Workspace) -> None:
    kernel = asking(fresh_workspace, '["gather_qmm", "nothing_such"]')
    (kernel.folder / "kernel.py").write_text("raise SystemExit('ran')\n")
    (row,) = (row for row in listings.kernels(fresh_workspace) if row["kernel"] == "asks")
    assert row["needs"] == {"gather_qmm": "mlx.core", "nothing_such": None}
    assert row["not_here"].startswith("needs nothing_such, which neither")
    said = text_of(listings.kernel_list([row]))
    assert "needs gather_qmm  in mlx.core" in said
    assert "needs nothing_such  not in this MLX" in said


@pytest.mark.parametrize("needs", ['["mx.rope"]', '[""]', '"rope"', "[1]"])
def test_needs_that_name_no_function_are_refused(fresh_workspace: Workspace, needs: str) -> None:
    with pytest.raises(UnusableInput, match=r"asks/kernel.toml: .*needs"):
        asking(fresh_workspace, needs)


def test_the_labs_primitive_is_declared_and_not_in_a_released_mlx(repository: Workspace) -> None:
    kernel = kernel_catalog.load(repository)["mlx_gather_qmm_swiglu"]
    assert kernel.declaration.needs == ("gather_qmm_swiglu",)
    reason = available.why_not(repository, kernel, "primitive", "cpu")
    assert reason is not None
    assert reason.startswith("needs gather_qmm_swiglu, which neither mlx.core nor mlx.core.fast")
    assert "mlx_gather_qmm_swiglu" not in " ".join(seen.subject for seen in doctor.observations(repository, "cpu"))
