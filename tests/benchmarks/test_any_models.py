"""Every architecture of mlx-lm can be measured or says why not; `docs/any-models.md` says which."""

from __future__ import annotations

import re
from pathlib import Path

import mlx.core as mx
import pytest

from tests import tiny_models
from zmlx_bench.catalog import available
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.workspace import Workspace

bench, tiny = tiny_models.module("any_models"), tiny_models.module("tiny_models")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "any-models.md"
SERVED = {
    "llama": {"any_qkv_joined", "any_native_linear"},
    "mixtral": {"any_qkv_joined", "any_native_linear", "any_native_experts", "any_native", "any_native_moe"},
    "deepseek_v3": {"any_qkv_joined", "any_native_linear", "any_native_experts", "any_native", "any_native_moe"},
    "gemma3n": {"any_qkv_joined", "any_native_linear"},
    "gpt_oss": {"any_native_linear", "any_native_experts", "any_native", "any_native_moe"},
    "mamba2": {"any_native_linear"},
}
"""Dense; experts; latent attention; layers without keys; biases and another activation; no attention at all."""
LEAST = 0.9
"""Share of the architectures that measure."""


@pytest.fixture(autouse=True, scope="module")
def _native() -> None:
    mx.set_default_device(mx.cpu)
    place = Workspace(bench.ROOT)
    why = available.why_not(place, kernel_catalog.load(place)["native_linear"], "stock", "cpu")
    if why is not None:
        pytest.skip(f"most variants of the CPU are native: {why}")


@pytest.mark.parametrize("name", SERVED)
def test_an_architecture_measures(name: str) -> None:
    (row,) = bench.rows([name], Workspace(bench.ROOT))
    assert row.why_not is None
    assert row.calls.keys() == SERVED[name]
    assert all(count > 0 for count in row.calls.values())


def test_the_page_lists_every_architecture_once_and_enough_of_them_measure() -> None:
    said = re.findall(r"^\| `([^`]+)` \| (yes|no)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in said] == tiny.architectures(), "write it again: its first lines say how"
    assert sum(answer == "yes" for _, answer in said) / len(said) >= LEAST


@pytest.mark.slow
def test_the_page_is_what_its_command_writes() -> None:
    assert bench.page(list(bench.rows(tiny.architectures(), Workspace(bench.ROOT)))) == PAGE.read_text(encoding="utf-8")
