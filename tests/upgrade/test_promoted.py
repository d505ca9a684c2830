"""Which promotions are checked, and why one cannot be measured here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.upgrade.promoting import promote, promotion
from zmlx_bench.errors import CannotHere
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.upgrade.promoted import Weights, identity_here, standing, weights_of
from zmlx_bench.workspace import Workspace

TINY = Weights("tiny", None, None, trust_remote_code=False)


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op")


def test_those_that_differ_in_their_versions_alone_are_measured_once(place: Workspace) -> None:
    promote(
        place,
        promotion(place, "no_op", mlx="0.0.1"),
        promotion(place, "no_op", mlx="0.0.2", since="2031-01-01T00:00:00Z"),
        promotion(place, "no_op", mlx="0.0.1", conditions=Conditions(batch=2)),
        promotion(place, "no_op", family="glm47", checkpoint_digest="a" * 64),
        promotion(place, "no_op", backend="cuda", device="Made GPU"),
    )
    found = standing(place, None, "auto")
    assert [(one.family, one.backend, one.mlx, one.conditions.batch) for one in found] == [
        ("glm47", "cpu", "0.0.1", 1),
        ("qwen3", "cpu", "0.0.2", 1),
        ("qwen3", "cpu", "0.0.1", 2),
        ("qwen3", "cuda", "0.0.1", 1),
    ]
    assert [one.family for one in standing(place, "glm47", "auto")] == ["glm47"]
    assert [one.backend for one in standing(place, None, "cuda")] == ["cuda"]


def test_a_kind_that_names_itself_needs_no_session(place: Workspace) -> None:
    assert weights_of(place, promotion(place, "no_op")) == TINY
    with pytest.raises(CannotHere, match="its session a is not here, which names its checkpoint"):
        weights_of(place, promotion(place, "no_op", checkpoint="synthetic"))


def test_the_variant_has_the_identity_of_today(place: Workspace) -> None:
    assert len(identity_here(place, promotion(place, "no_op"), TINY)) == 64


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": "Made CPU"}, "it is promoted on Made CPU, and this is "),
        ({"cores": 4096}, "it is promoted on 4096 cores, and this process may use "),
        ({"variant": "gone"}, "qwen3.toml declares it no longer"),
        ({"checkpoint_digest": "a" * 64}, "--checkpoint tiny is another one here than it is promoted on"),
    ],
)
def test_what_cannot_be_measured_here_says_why(place: Workspace, changes: dict[str, Any], says: str) -> None:
    one = promotion(place, changes.pop("variant", "no_op"), **changes)
    with pytest.raises(CannotHere, match=says):
        identity_here(place, one, TINY)
