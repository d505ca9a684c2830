"""What is read of this machine is plausible, and what it does not say is null."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.hub import snapshot
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.doctor import checkup
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.machine import backend, container, facts, memory, state


def test_the_state_is_plausible() -> None:
    found = state.read("cpu", 0.25)
    assert found.load_average is not None
    assert abs(found.load_average - os.getloadavg()[0]) < 5
    assert found.available_memory_gb is not None
    assert 0 < found.available_memory_gb <= psutil.virtual_memory().total / 1e9
    assert found.cpu_busy_by_others == 0.25
    assert (found.gpu_mhz, found.other_gpu_processes) == (None, None), "nobody asked a GPU"


def test_busy_seconds_grow_with_work_and_no_faster_than_the_cores() -> None:
    before, start = state.busy_cpu_s(), time.perf_counter()
    while time.perf_counter() - start < 0.3:
        pass
    used = state.busy_cpu_s() - before
    took = time.perf_counter() - start
    assert 0.15 < used <= took * (os.cpu_count() or 1) + 0.2


def test_the_facts_name_the_device() -> None:
    found = facts.read("cpu")
    assert found == facts.read("cpu")
    cores = f"{found.cores} core{'' if found.cores == 1 else 's'})"
    assert found.device.startswith(found.cpu or found.arch)
    assert found.device.endswith(cores)
    assert found.memory_gb == pytest.approx(memory.read().total_gb, abs=0.1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel\t\t: 1\n",
         "AMD EPYC (family 25 model 17, 3 cores)"),
        ("processor\t: 0\nBogoMIPS\t: 243.75\nCPU part\t: 0xd40\n", None),
    ],
)  # fmt: skip
def test_guests_that_show_one_name_are_told_apart(
    text: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(facts, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(container, "usable_cores", lambda: 3)
    assert facts.read("cpu").device == (name or f"{platform.machine()} (3 cores)")


def test_auto_is_a_backend_that_runs_and_every_other_has_a_reason() -> None:
    chosen = backend.choose("auto")
    assert backend.why_not(chosen) is None
    for name in backend.ORDER:
        reason = backend.why_not(name)
        if reason is not None:
            with pytest.raises(CannotHere, match=f"--backend {name}: "):
                backend.choose(name)
    if sys.platform != "darwin":
        assert backend.why_not("metal") == "metal needs a Mac with Apple silicon"
    with pytest.raises(UnusableInput, match="unknown backend 'cudda'; did you mean 'cuda'"):
        backend.choose("cudda")


def on_a_mac(monkeypatch: pytest.MonkeyPatch, folder: Path, arch: str, translated: str) -> None:
    """Make this process take itself for one on a Mac whose `sysctl` answers `translated`."""
    sysctl = folder / "sysctl"
    sysctl.write_text(f"#!/bin/sh\necho {translated}\n")
    sysctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: arch)


@pytest.mark.process
@pytest.mark.parametrize(
    ("arch", "translated", "reason"),
    [
        ("arm64", "0", None),
        ("x86_64", "1", "this Python runs translated, which has no Metal for MLX; install one for arm64"),
        ("x86_64", "0", "metal needs a Mac with Apple silicon"),
    ],
)
def test_a_translated_python_is_told_from_an_intel_mac(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arch: str, translated: str, reason: str | None
) -> None:
    on_a_mac(monkeypatch, tmp_path, arch, translated)
    found = backend.why_not("metal")
    assert found is None if reason is None else (found or "").startswith(reason)


@pytest.mark.process
def test_on_a_mac_processes_tell_whether_anything_works_and_not_the_load_average(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_a_mac(monkeypatch, tmp_path, "arm64", "0")
    monkeypatch.setattr(checkup, "busiest_processes", list)
    assert checkup._load(2.5).level == "good"
    monkeypatch.setattr(checkup, "busiest_processes", lambda: [("backupd", 0.8)])
    assert checkup._load(0.1).found.endswith("busiest now: backupd (80% of a core)")


def test_every_finding_that_is_not_good_says_what_was_found() -> None:
    findings = checkup.observations()
    subjects = [finding.subject for finding in findings]
    assert {"backend", "mlx", "mlx-lm", "memory", "background load"} <= set(subjects)
    assert len(set(subjects)) == len(subjects)
    assert all(finding.remedy for finding in findings if finding.level != "good")


def test_the_hub_cache_names_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    bare = checkup.hub_cache(tmp_path / "not" / "there")
    assert bare.level == "note"
    for name in family_catalog.usual():
        assert family_catalog.facts(name).hub_id in bare.found
        assert f"hf download {family_catalog.facts(name).hub_id}" in bare.remedy
    for name in family_catalog.usual():
        snapshot(tmp_path, family_catalog.facts(name).hub_id, "config.json", "tokenizer.json")
    assert checkup.hub_cache(tmp_path).level == "note"
    for name in family_catalog.usual():
        snapshot(tmp_path, family_catalog.facts(name).hub_id, "model.safetensors")
    assert checkup.hub_cache(tmp_path).level == "good"


@pytest.mark.process
def test_a_busy_process_is_named() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            found = checkup.busiest_processes(most=100, window_s=1.0)
        finally:
            busy.kill()
    assert any("python" in name.lower() and share > 0.1 for name, share in found)
