"""How sessions at once and one after the other are compared."""

from __future__ import annotations

import math
from types import ModuleType

import pytest

from tests.builders import Made, add_session, make_workspace
from tests.scripts import load
from zmlx_bench.ledger import matrix
from zmlx_bench.schema.matrix import MatrixRow


@pytest.fixture(scope="module")
def per_host() -> ModuleType:
    return load("benchmarks/per_host.py")


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> MatrixRow:
    place = make_workspace(tmp_path_factory.mktemp("rows") / "ws")
    add_session(place, 0, [Made("fast", 0.05)])
    return matrix.read(place.matrix)[0]


@pytest.mark.parametrize(
    ("parallel", "serial", "value", "small"),
    [
        ((1.5, 1.495, 1.505), (1.5, 1.495, 1.505), 0.0, True),
        ((1.5, 1.495, 1.505), (1.53, 1.525, 1.535), math.log(1.5 / 1.53), False),
        ((1.5, 1.40, 1.60), (1.5, 1.495, 1.505), 0.0, False),
    ],
)
def test_the_interval_of_the_difference_decides(
    per_host: ModuleType,
    row: MatrixRow,
    parallel: tuple[float, ...],
    serial: tuple[float, ...],
    value: float,
    small: bool,
) -> None:
    rows = [
        row.model_copy(update=dict(zip(("speedup", "speedup_low", "speedup_high"), figures, strict=True)))
        for figures in (parallel, serial)
    ]
    found = per_host.difference(*rows)
    assert found.value == pytest.approx(value)
    assert found.small is small
    assert per_host.difference(rows[0], rows[1].model_copy(update={"speedup": None})) is None
