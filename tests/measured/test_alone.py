"""The measured room needs nothing but the standard library, mlx and mlx-lm: not even the rest of zmlx."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.instructions import events, small_instructions
from tests.measured import bare
from tests.measured.bare import Bare
from tests.variants import variant
from zmlx_bench.measured.messages import Instructions
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
import zmlx_bench, zmlx_bench.measured as room
from zmlx_bench.measured import loader
from zmlx_bench.measured.families.loading import load
for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    importlib.import_module(found.name)
    print(found.name)
for facts in pathlib.Path(room.__path__[0]).glob("families/*/facts.toml"):
    load(facts.parent)
loader.open_kernels(pathlib.Path(sys.argv[1]))
for kernel in pathlib.Path(sys.argv[1]).glob("*/kernel.py"):
    loader.load_bind(kernel.parent.name)
"""

# What a worker imports before its instructions name a device, and what applies variants to a loaded model.
LIGHT = """
import sys
import zmlx_bench.measured.worker.__main__, zmlx_bench.measured.worker.device, zmlx_bench.measured.apply
import zmlx_bench.measured.families.loading, zmlx_bench.measured.synthetic
print(*sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""

KERNELS = {
    "qwen3": ("qkv=qkv_joined", "combine=moe_combine.fp32"),
    "glm47": ("qkv=qkv_joined", "combine=moe_combine.fp32_no_fma"),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    return bare.make(tmp_path_factory.mktemp("alone"))


def test_the_rest_is_really_not_there(alone: Bare) -> None:
    for absent in ("pydantic", "platformdirs", "typer", "zmlx_bench.schema", "zmlx_bench.files"):
        done = alone.run("-c", f"import {absent}")
        assert f"No module named '{absent}'".encode() in done.stderr


def test_every_module_and_kernel_can_be_imported(alone: Bare, repository: Workspace) -> None:
    done = alone.run("-c", IMPORT_ALL, str(repository.kernels))
    assert done.returncode == 0, done.stderr.decode()
    found = set(done.stdout.decode().split())
    assert {"zmlx_bench.measured.apply", "zmlx_bench.measured.worker.job", "zmlx_bench.measured.worker.audit"} <= found


def test_what_comes_before_the_device_imports_mlx_at_most(alone: Bare) -> None:
    done = alone.run("-c", LIGHT)
    assert done.returncode == 0, done.stderr.decode()
    assert set(done.stdout.decode().split()) - {"__main__"} == {"mlx", "zmlx_bench"}


def job(alone: Bare, told: Instructions, **options: object) -> list[dict[str, object]]:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as pipe, ThreadPoolExecutor(1) as reader:
        # Read meanwhile: a worker waits while its pipe is full.
        reported = reader.submit(pipe.read)
        worker = ("-m", "zmlx_bench.measured.worker", str(write_end))
        try:
            done = alone.run(*worker, input=told.encoded(), pass_fds=(write_end,), **options)
        finally:
            os.close(write_end)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in reported.result().splitlines()]


def tokens(found: list[dict[str, object]]) -> list[object]:
    return [event["id"] for event in found if event["event"] == "token"]


@pytest.mark.parametrize("family", ["qwen3", pytest.param("glm47", marks=pytest.mark.slow)])
def test_a_job_of_a_session_runs(alone: Bare, family: str, repository: Workspace, tmp_path: Path) -> None:
    told = small_instructions(family, repository.kernels, variant(family, *KERNELS[family]))
    there = replace(told, family_folder=str(alone.room / "families" / family))
    found, here = job(alone, there), events(told, tmp_path)
    assert [event["event"] for event in found] == [*(event["event"] for event in here), "opened"]
    rooms = (str(alone.room), str(repository.kernels))
    assert [path for path in found[-1]["files"] if not path.startswith(rooms)] == []  # type: ignore[attr-defined]
    assert tokens(found) == tokens(here)
    patched, warmed = ([event for event in found if event["event"] == kind] for kind in ("patched", "warmed"))
    assert set(patched[0]["hosts"]) == {"qkv", "combine"}  # type: ignore[call-overload]
    assert warmed[0]["calls_per_token"] == patched[0]["hosts"]
