from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import read_toml
from zmlx_bench.schema.described import descriptions
from zmlx_bench.schema.policy import Policy

SHIPPED = Path(__file__).parents[2] / "variants" / "policy.toml"


def edited(folder: Path, old: str, new: str) -> Policy:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path = folder / "policy.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return read_toml(path, Policy)


def test_the_policy_that_ships_is_valid_and_every_field_is_explained() -> None:
    policy = read_toml(SHIPPED, Policy)
    assert policy.min_blocks == {200: 3, 1024: 2}
    unexplained = Policy.model_fields.keys() - descriptions(Policy).keys()
    assert unexplained == {"schema_version"}


def test_the_hash_follows_the_figures_not_the_layout(tmp_path: Path) -> None:
    policy = read_toml(SHIPPED, Policy)
    assert edited(tmp_path, "min_gain", "# a comment\nmin_gain").sha256 == policy.sha256
    assert edited(tmp_path, "min_gain = 0.01", "min_gain = 0.012").sha256 != policy.sha256


@pytest.mark.parametrize(
    ("field", "value"),
    [("futility_power", "0.1"), ("outlier_blocks", "0.5"), ("outlier_share", "0.5"), ("near_stock_top1", "0.5")],
)
def test_a_field_that_came_later_changes_no_hash_until_it_has_another_value(
    tmp_path: Path, field: str, value: str
) -> None:
    before = edited(tmp_path, f"{field} = {value}", "")
    assert before == edited(tmp_path, "min_gain", "min_gain")
    assert before.sha256 == edited(tmp_path, "min_gain", "min_gain").sha256
    assert before.sha256 != edited(tmp_path, f"{field} = {value}", f"{field} = 0.2").sha256


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("min_gain = 0.01", "min_gain = 1.5", "min_gain"),
        ("min_gain = 0.01", "min_gain = 0.05", "planned_effect"),
        ("sessions = 2", "sessions = 9", "sessions_averaged"),
        ("schema_version = 1", "schema_version = 1\nmin_gian = 0.01", "min_gian"),
        ("min_gain = 0.01", "", "min_gain"),
        ("min_gain = 0.01", "min_gain = ", "line"),
        ("sessions = 2", "sessions = 1", "sessions"),
        ("schema_version = 1", "schema_version = 2", "schema_version"),
    ],
)
def test_a_faulty_policy_is_refused_by_name(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(UnusableInput, match=told):
        edited(tmp_path, old, new)
