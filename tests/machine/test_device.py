"""The lock of a device: which device it is, and what is said where it cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zmlx_bench.doctor import checkup
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import device


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of locks of this test's own."""
    folder = tmp_path / "locks"
    monkeypatch.setattr(device, "folder", lambda: folder)
    return folder


def test_a_device_is_taken_once_and_free_again_after_its_release(locks: Path) -> None:
    first = device.take("cpu")
    assert first is not None
    with pytest.raises(CannotHere, match=f"process {os.getpid()} measures on this device"):
        device.take("cpu")
    assert device.take("cpu", share=True) is None
    first.release()
    again = device.take("cpu", share=True)
    assert again is not None, "a session that would share holds a free device all the same"
    again.release()


@pytest.mark.parametrize(
    ("visible", "file"),
    [(None, "device-cuda-0.lock"), ("1,2", "device-cuda-1.lock"), ("GPU-8a/../x", "device-cuda-GPU-8ax.lock"),
     ("", "device-cuda-none.lock")],
)  # fmt: skip
def test_each_gpu_has_a_lock_of_its_own(
    locks: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, file: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    cpu, gpu = device.take("cpu"), device.take("cuda")
    assert sorted(path.name for path in locks.glob("*.lock")) == ["device-cpu.lock", file]
    for lock in (cpu, gpu):
        assert lock is not None
        lock.release()


def test_a_process_id_that_is_no_longer_there_is_not_blamed(locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_PID_APPEARS_S", 0.1)
    lock = device.take("cpu")
    assert lock is not None
    for left in ("4194999\n", "", "x"):
        (locks / "device-cpu.pid").write_text(left)
        with pytest.raises(CannotHere, match=r"^another process measures on this device"):
            device.take("cpu")
    lock.release()


def test_a_folder_that_cannot_hold_locks_is_named(locks: Path) -> None:
    locks.write_text("a file")
    with pytest.raises(CannotHere, match=r"device-cpu\.lock: cannot be locked: .*set TMPDIR"):
        device.take("cpu")


def test_a_link_in_place_of_the_folder_is_not_followed(locks: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    locks.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotHere, match="its folder is somebody else's"):
        device.take("cpu")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_who_holds_a_device_is_known_without_taking_it(locks: Path) -> None:
    assert device.holder("cpu") is None
    lock = device.take("cpu")
    assert lock is not None
    assert device.holder("cpu") == f"process {os.getpid()}"
    lock.release()
    assert device.holder("cpu") is None
    found = checkup.measuring("process 12")
    assert (found.level, found.found) == ("note", "process 12 measures on it")
    assert "--share-device" in found.remedy
    assert checkup.measuring(None).level == "good"
