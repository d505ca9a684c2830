"""What one comparison is given: drawn once for all that compare the same steps, and no oftener than it tells apart."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests.bench.tiny_sizes import SIZES
from zmlx_bench.bench.schema import BenchTask
from zmlx_bench.bench.tasks import task_of
from zmlx_bench.catalog import families
from zmlx_bench.catalog import kernels as catalog
from zmlx_bench.measured import loader
from zmlx_bench.schema.verification import SizesName
from zmlx_bench.verify.compare import CONTEXTS, Comparison
from zmlx_bench.verify.schema import Instructions
from zmlx_bench.workspace import Workspace


def comparison(repository: Workspace, family: str, name: SizesName) -> Comparison:
    mx.set_default_device(mx.cpu)
    loader.open_kernels(repository.kernels)
    told = Instructions(
        family=family, family_folder=str(families.folder(family, repository)), backend="cpu",
        kernels=str(repository.kernels), tasks=(), seed=0, sizes_name=name, sizes=SIZES[family], probe=False,
    )  # fmt: skip
    return Comparison(told)


def task(repository: Workspace, kernel: str, mode: str = "stock") -> BenchTask:
    return task_of(catalog.load(repository)[kernel], mode)


@pytest.mark.parametrize(("name", "calls"), [("tiny", 2 * len(CONTEXTS)), ("published", 2)])
def test_the_depth_of_the_cache_is_varied_where_inputs_depend_on_it_or_are_few(
    repository: Workspace, name: SizesName, calls: int
) -> None:
    made = comparison(repository, "qwen3", name)
    row = next(made.rows(task(repository, "moe_combine")))
    assert (row.module, row.status, row.calls, row.differing) == ("mlp", "ok", calls, 0)


def test_modes_of_a_kernel_are_held_against_the_same_answers(repository: Workspace) -> None:
    made = comparison(repository, "qwen3", "published")
    rows = [next(made.rows(task(repository, "moe_combine", mode))) for mode in ("stock", "fp32", "stock")]
    first, other, again = rows
    assert first == again
    assert (first.compared, first.differing) == (other.compared, 0)
    assert other.differing > 0


class Refused(nn.QuantizedLinear):
    """A projection of sizes for which MLX has no kernel, as its CUDA build says it."""

    def __call__(self, x: mx.array) -> mx.array:
        raise RuntimeError(f"[quantized_matmul] No implementation for problem shape: {x.shape}")


def test_where_the_models_own_step_does_not_run_no_kernel_is_to_blame(repository: Workspace) -> None:
    made = comparison(repository, "qwen3", "published")
    asked = task(repository, "qkv_joined")
    (place,) = made._layer.places(asked.sites)
    place.module.q_proj.__class__ = Refused
    row = next(made.rows(asked))
    assert row.status == "unavailable"
    assert row.reason is not None
    assert row.reason.startswith("MLX itself does not run the unpatched model here: [quantized_matmul]")
