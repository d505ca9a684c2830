"""Memory that may be used: what a control group or Metal leaves of the machine's counts, and is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.hub import snapshot
from tests.machine import mac
from zmlx_bench.catalog import families
from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.doctor import checkup
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.machine import container, facts, memory, state
from zmlx_bench.schema.machine import Machine


@pytest.fixture
def boxed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 GB, 50 of them free, and a control group that allows 12 GB, 9 of them still."""
    has = SimpleNamespace(total=64_000_000_000, available=50_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: has)
    monkeypatch.setattr(container, "memory_limit_gb", lambda: 12.0)
    monkeypatch.setattr(container, "memory_left_gb", lambda: 9.0)


@pytest.mark.usefixtures("boxed")
def test_a_containers_limit_counts_everywhere_and_is_named() -> None:
    assert memory.read() == memory.Memory(12.0, 9.0, "control group", 64.0)
    machine = facts.read("cpu")
    assert (machine.memory_gb, machine.memory_limited_by) == (12.0, "control group")
    assert state.read("cpu").available_memory_gb == 9.0
    seen = next(each for each in checkup.observations() if each.subject == "memory")
    assert "9.0 of 12.0 GB free (control group; the machine has 64.0 GB)" in seen.found
    with pytest.raises(CannotHere, match=r"the control group allows 12\.0 GB here \(raise the container's limit\)"):
        locate("qwen3", "full", machine)


def test_a_limit_above_the_machines_memory_limits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "memory_limit_gb", lambda: 1e6)
    monkeypatch.setattr(container, "memory_left_gb", lambda: 1e6)
    found = memory.read()
    assert found.limited_by is None
    assert found.total_gb == found.machine_gb == psutil.virtual_memory().total / 1e9
    assert 0 < found.available_gb <= found.total_gb


def apple(gpu_gb: float | None, memory_gb: float) -> Machine:
    return Machine(
        device="Apple M4", backend="metal", os="macOS 15", arch="arm64", memory_gb=memory_gb, gpu_memory_gb=gpu_gb
    )


@pytest.mark.parametrize(
    ("machine", "fits"),
    [
        (apple(17.2, 25.8), False),  # a Mac of 24 GB: two thirds
        (apple(22.9, 34.4), True),  # of 32 GB
        (apple(None, 25.8), True),  # MLX could not be asked
        (apple(60.0, 12.0), False),
        (Machine(device="Made", backend="cuda", os="Made", arch="made", memory_gb=8.0, gpu_memory_gb=80.0), True),
    ],
)
def test_auto_takes_the_published_weights_where_they_fit(
    machine: Machine, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tiny = families.known("qwen3").tiny
    assert tiny is not None
    snapshot(tmp_path, families.facts("qwen3").hub_id, *(f for f in tiny.iterdir() if f.suffix != ".md"))
    found = locate("qwen3", "auto", machine)
    assert found.checkpoint.kind == ("full" if fits else "tiny")
    if fits:
        return
    if machine.gpu_memory_gb == 17.2:
        assert "Metal recommends at most 17.2 GB here (`sudo sysctl iogpu.wired_limit_mb=N` moves that)" in found.why
        with pytest.raises(CannotHere, match=r"Metal recommends at most 17\.2 GB here"):
            locate("qwen3", "full", machine)


def test_auto_goes_on_to_tiny_where_the_published_weights_were_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tiny = families.known("qwen3").tiny
    assert tiny is not None
    hub_id = families.facts("qwen3").hub_id
    folder = snapshot(tmp_path, hub_id, *(f for f in tiny.iterdir() if f.suffix != ".md"))
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-100])
    found = locate("qwen3", "auto", apple(60.0, 64.0))
    assert found.checkpoint.kind == "tiny"
    assert found.why.startswith(f"{hub_id} lies in the hub cache and cannot be used: {folder}")
    with pytest.raises(UnusableInput, match=r"model\.safetensors"):
        locate("qwen3", "full", apple(60.0, 64.0))


@pytest.mark.process
def test_a_mac_tells_its_gpus_cores_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac.pretend(monkeypatch, tmp_path / "bin", sysctl=mac.SYSCTL, ioreg=mac.IOREG, mlx="echo 28991029248")
    monkeypatch.setenv("WIRED_MB", "0")
    found = facts.read("metal")
    assert found.device == "Apple M4 Max (32-core GPU)"
    assert (found.gpu_memory_gb, found.wired_limit_gb) == (29.0, None)
    monkeypatch.setenv("WIRED_MB", "30000")
    assert facts.read("metal").wired_limit_gb == pytest.approx(31.46, abs=0.01)


@pytest.mark.process
def test_what_a_mac_does_not_tell_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mac.pretend(monkeypatch, tmp_path / "bin", sysctl=mac.SYSCTL, ioreg="exit 1", mlx="echo no module >&2; exit 1")
    found = facts.read("metal")
    assert (found.device, found.gpu_memory_gb, found.wired_limit_gb) == ("Apple M4 Max", None, None)
