from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest

from zmlx_bench.measured import loader

KERNELS = Path(__file__).resolve().parents[3] / "kernels"


@pytest.fixture(scope="session", autouse=True)
def on_cpu() -> None:
    mx.set_default_device(mx.cpu)


@pytest.fixture(scope="session")
def package() -> ModuleType:
    """The package kernels/_lib/native, imported as the patch layer imports it."""
    loader.open_kernels(KERNELS)
    import zmlx_kernels._lib.native as package

    return package


@pytest.fixture(scope="session")
def native(package: ModuleType) -> ModuleType:
    """The built extension; without a build on this machine the tests that need it are skipped."""
    reason = package.missing()
    if reason:
        pytest.skip(reason)
    return package.load()


@pytest.fixture
def as_found(native: ModuleType) -> Iterator[None]:
    """Puts the instruction set and the threads back after the test."""
    isa, threads = native.isa(), native.threads()
    yield
    native.set_isa(isa)
    native.set_threads(threads)
