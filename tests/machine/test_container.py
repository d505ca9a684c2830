"""Limits of control groups of both versions, from folders as the kernel lays them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zmlx_bench.machine.container import memory_left_gb, memory_limit_gb, usable_cores

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def write(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text + "\n")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


def test_version_2_counts_the_smallest_on_the_way_up(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    write(root / "a", memory__max="4000000000", cpu__max="max 100000")
    write(root / "a" / "b", memory__max="max", cpu__max="150000 100000")
    assert memory_limit_gb(root, own) == 4.0
    assert usable_cores(root, own) == min(2, ALL or 1)


def test_version_2_inside_a_container_whose_group_is_the_hosts(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/docker/0123\n")
    write(tmp_path / "cgroup", memory__max="2000000000", cpu__max="50000 100000")
    assert memory_limit_gb(tmp_path / "cgroup", own) == 2.0
    assert usable_cores(tmp_path / "cgroup", own) == 1


def test_version_1(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("9:memory:/box\n4:cpu,cpuacct:/box\n0::/\n")
    write(root / "memory", memory__limit_in_bytes="9223372036854771712")
    write(root / "memory" / "box", memory__limit_in_bytes="3000000000")
    write(root / "cpu" / "box", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    assert memory_limit_gb(root, own) == 3.0
    assert usable_cores(root, own) == 1


def test_what_is_left_counts_the_file_cache_that_can_be_dropped(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    write(root / "a", memory__max="4000000000", memory__current="3500000000", memory__stat="inactive_file 1000000000")
    write(root / "a" / "b", memory__max="max", memory__current="9")
    assert memory_left_gb(root, own) == 1.5
    write(root / "a" / "b", memory__max="500000000", memory__current="600000000")
    assert memory_left_gb(root, own) == 0.0


def test_what_version_1_leaves(tmp_path: Path, own: Path) -> None:
    own.write_text("9:memory:/box\n0::/\n")
    write(
        tmp_path / "memory" / "box",
        memory__limit_in_bytes="3000000000",
        memory__usage_in_bytes="1000000000",
        memory__stat="inactive_file 1\ntotal_inactive_file 200000000",
    )
    assert memory_left_gb(tmp_path, own) == 2.2


def test_no_limit_and_nothing_to_read(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/\n")
    write(tmp_path / "cgroup", memory__max="max", cpu__max="max 100000")
    assert memory_limit_gb(tmp_path / "cgroup", own) is None
    assert usable_cores(tmp_path / "cgroup", own) == ALL
    assert memory_left_gb(tmp_path / "cgroup", own) is None
    assert memory_limit_gb(tmp_path / "not there", tmp_path / "nor this") is None
    assert usable_cores(tmp_path / "not there", tmp_path / "nor this") == ALL


def test_a_limit_above_which_a_process_is_slowed_down_counts_too(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("0::/a\n")
    write(root / "a", memory__max="4000000000", memory__high="3000000000", memory__current="1000000000")
    assert memory_limit_gb(root, own) == 3.0
    assert memory_left_gb(root, own) == 2.0


def test_controllers_mounted_together_without_a_name_of_their_own(tmp_path: Path, own: Path) -> None:
    root = tmp_path / "cgroup"
    own.write_text("4:cpu,cpuacct:/box\n")
    write(root / "cpu,cpuacct" / "box", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    assert usable_cores(root, own) == 1
