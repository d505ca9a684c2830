from __future__ import annotations

import pytest

from zmlx_bench.schema.machine import cores_told


@pytest.mark.parametrize(
    ("device", "cores", "told"),
    [
        ("NVIDIA H200", 16, ("16 cores",)),
        ("NVIDIA H200", 1, ("1 core",)),
        ("NVIDIA H200", 128, ("128 cores",)),
        ("NVIDIA H200", None, ()),
        ("Intel(R) Xeon(R) Processor (family 6 model 167, 2 cores)", 2, ()),
        ("AMD EPYC (1 core)", 1, ()),
        ("AMD EPYC (12 cores)", 2, ("2 cores",)),
        ("Made (2 cores) Max", 2, ("2 cores",)),
    ],
)
def test_cores_are_told_once(device: str, cores: int | None, told: tuple[str, ...]) -> None:
    assert cores_told(device, cores) == told
