"""Which GPU of several is read. nvidia-smi is a script here that answers as the real one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.machine import facts, nvidia, state
from zmlx_bench.session import ahead

SMI = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
case "$*" in
  *--id=9*) exit 6 ;;
  *--id=1*compute-apps*|*compute-apps*--id=1*) echo 41; exit ;;
  *compute-apps*--id=*) exit ;;
  *compute-apps*) printf '41\\n42\\n'; exit ;;
esac
case "$*" in
  *name*) first="NVIDIA A, 1000, 1.2"; second="NVIDIA B, 2000, 1.2" ;;
  *) first="345, 30, 0x0"; second="1980, 61, 0x20" ;;
esac
case "$*" in
  *--id=0*) echo "$first" ;;
  *--id=1*) echo "$second" ;;
  *) echo "$first"; echo "$second" ;;
esac
"""


@pytest.fixture(autouse=True)
def _two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.process
@pytest.mark.parametrize(
    ("visible", "name", "mhz", "others", "throttled"),
    [
        (None, "NVIDIA A", 345, 0, False),
        ("0", "NVIDIA A", 345, 0, False),
        ("1", "NVIDIA B", 1980, 1, True),
        (" 1,0", "NVIDIA B", 1980, 1, True),
        # What nvidia-smi cannot select by: everything is asked and the first taken.
        ("9", "NVIDIA A", 345, 2, False),
    ],
)
def test_the_gpu_that_mlx_takes_is_read(
    visible: str | None, name: str, mhz: int, others: int, throttled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = state.read("cuda")
    assert facts.read("cuda").device == name
    assert (found.gpu_mhz, found.other_gpu_processes, found.throttled) == (mhz, others, throttled)


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_no_gpu_is_left(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert nvidia.first_visible() is None


@pytest.mark.process
def test_it_is_asked_once_for_what_stays_and_twice_at_once_for_what_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    asked = tmp_path / "asked"
    facts.read("cuda")
    assert len(asked.read_text().splitlines()) == 1
    ahead.gpu("cuda", versions=())
    assert len(asked.read_text().splitlines()) == 2
    state.read("cuda")
    assert len(asked.read_text().splitlines()) == 4
