"""Energy counters, as files that look like the kernel's; what cannot be read is unknown, never 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.machine import nvml
from zmlx_bench.machine.energy import Meter
from zmlx_bench.schema.event import PromptEnd, PromptStart, Token
from zmlx_bench.session.energy import DecodeEnergy


def zone(root: Path, name: str, called: str, microjoules: int | str, most: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(f"{called}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder / "energy_uj"


@pytest.fixture
def counters(tmp_path: Path) -> tuple[Path, Path]:
    """Two packages; what lies within one, and the platform's zone, would be counted twice."""
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl:2", "psys", 1)
    return zone(tmp_path, "intel-rapl:0", "package-0", 100_000), zone(tmp_path, "intel-rapl:1", "package-1", 900_000)


def test_packages_are_added_up_and_a_counter_may_come_round(counters: tuple[Path, Path], tmp_path: Path) -> None:
    meter = Meter("cpu", tmp_path)
    meter.start()
    counters[0].write_text("350000\n")
    counters[1].write_text("50000\n")
    assert meter.stop() == pytest.approx(0.25 + 0.15)


def test_what_cannot_be_read_is_unknown(counters: tuple[Path, Path], tmp_path: Path) -> None:
    meter = Meter("cpu", tmp_path)
    meter.start()
    counters[1].write_text("not a number\n")
    assert meter.stop() is None
    assert Meter("cpu", tmp_path / "nowhere").stop() is None
    assert Meter("metal", tmp_path).stop() is None


def test_the_gpus_counter_only_rises_or_is_unknown() -> None:
    before, after = nvml.energy_j(), nvml.energy_j()
    assert (before is None) == (after is None)
    assert before is None or after is None or after >= before > 0


def test_the_energy_of_a_decode_is_from_the_first_token_to_the_last(
    counters: tuple[Path, Path], tmp_path: Path
) -> None:
    energy = DecodeEnergy(Meter("cpu", tmp_path))
    energy.note(PromptStart(prompt="p", prompt_tokens=3, t_ns=0, active_before_gb=0.0))
    counters[0].write_text("200000\n")
    energy.note(Token(id=1, t_ns=1))
    counters[0].write_text("300000\n")
    energy.note(Token(id=2, t_ns=2))
    assert energy.joules is None
    energy.note(PromptEnd(prompt="p", peak_mem_gb=0.0, cache_gb=0.0))
    assert energy.joules == pytest.approx(0.1)
