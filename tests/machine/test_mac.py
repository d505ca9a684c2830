"""What a Mac tells of its memory, from outputs of its tools and of the system call, and what follows from it."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from tests.machine import mac
from zmlx_bench.doctor import checkup
from zmlx_bench.machine import metal, state
from zmlx_bench.measured.worker import usage

VM_STAT = """cat <<'END'
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               12345.
Pages active:                            600000.
Pages inactive:                          580000.
Pages speculative:                         9000.
Pages throttled:                              0.
Pages wired down:                        350000.
Pages purgeable:                           7000.
"Translation faults":                 900000000.
Pages stored in compressor:              400000.
Pages occupied by compressor:            125000.
Decompressions:                        11111111.
Compressions:                          22222222.
END"""

NUMBERS = """
user_time system_time pkg_idle_wkups interrupt_wkups pageins wired_size resident_size phys_footprint
proc_start_abstime proc_exit_abstime child_user_time child_system_time child_pkg_idle_wkups
child_interrupt_wkups child_pageins child_elapsed_abstime diskio_bytesread diskio_byteswritten
cpu_time_qos_default cpu_time_qos_maintenance cpu_time_qos_background cpu_time_qos_utility
cpu_time_qos_legacy cpu_time_qos_user_initiated cpu_time_qos_user_interactive billed_system_time
serviced_system_time logical_writes lifetime_max_phys_footprint instructions cycles billed_energy
serviced_energy interval_max_phys_footprint runnable_time
"""
"""Of `struct rusage_info_v4` in macOS's <sys/resource.h>, without their `ri_`."""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Mac of 64 GB whose compressor takes 2 GB."""
    folder = tmp_path / "bin"
    mac.pretend(
        monkeypatch, folder, sysctl=mac.SYSCTL, ioreg=mac.IOREG, vm_stat=VM_STAT, mlx="echo hello; echo 51539607552",
        notifyutil="echo com.apple.system.thermalpressurelevel 1",
    )  # fmt: skip
    monkeypatch.setenv("WIRED_MB", "0")
    return folder


@pytest.mark.process
@pytest.mark.usefixtures("tools")
def test_the_compressor_is_part_of_the_state() -> None:
    assert metal.compressed_gb() == pytest.approx(125000 * 16384 / 1e9)
    found = state.read("metal")
    assert found.compressed_gb == pytest.approx(2.048)
    assert (found.thermal_pressure, found.throttled) == ("moderate", True)


@pytest.mark.process
@pytest.mark.parametrize("script", ["exit 1", "echo nothing", "echo 'Pages occupied by compressor: 1.'"])
def test_a_compressor_that_is_not_told_is_unknown(tools: Path, script: str) -> None:
    mac.tool(tools, "vm_stat", script)
    assert metal.compressed_gb() is None
    assert state.read("metal").compressed_gb is None


@pytest.mark.process
def test_doctor_names_the_wired_limit_and_the_compressor(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wired,) = checkup._wired("metal")
    assert (wired.level, wired.found) == ("good", "Metal recommends at most 51.5 GB (macOS's own limit)")
    (compressor,) = checkup._compressor()
    assert (compressor.level, compressor.found) == ("note", "takes 2.0 GB")
    assert "INCONCLUSIVE" in compressor.remedy
    monkeypatch.setenv("WIRED_MB", "16384")
    mac.tool(tools, "mlx", "echo 17179869184")
    (wired,) = checkup._wired("metal")
    assert wired.level == "note"
    assert "iogpu.wired_limit_mb is set to 17.2 GB" in wired.found
    assert "sudo sysctl iogpu.wired_limit_mb=N" in wired.remedy
    assert checkup._wired("cpu") == []


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has them")
def test_elsewhere_nothing_is_said_of_them() -> None:
    assert usage.peak_footprint_gb() is None
    assert usage.Usage().done().peak_footprint_gb is None
    assert state.read("cpu").compressed_gb is None
    assert checkup._wired("cpu") == checkup._compressor() == []


@pytest.mark.skipif(sys.platform != "darwin", reason="asks macOS")
def test_a_mac_tells_the_footprint_of_this_process() -> None:
    found = usage.peak_footprint_gb()
    assert found is not None
    assert 0.01 < found < 1000


def test_the_footprint_is_where_the_header_has_it() -> None:
    """`struct rusage_info_v4`: 16 bytes of a UUID, then 35 numbers of 64 bits, this one after `ri_logical_writes`."""
    names = NUMBERS.split()
    answer = bytes(16) + struct.pack("=35Q", *range(1000, 1035)) + bytes(100)
    assert len(names) == 35
    assert usage.most_footprint_bytes(answer) == 1000 + names.index("lifetime_max_phys_footprint")
