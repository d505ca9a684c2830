from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.policy import Policy, parse_policy

TEXT = (Path(__file__).parents[2] / "variants" / "policy.toml").read_text(encoding="utf-8")


def test_the_policy_that_ships_is_valid_and_every_field_is_explained() -> None:
    policy = parse_policy(TEXT)
    assert policy.min_blocks == {200: 3, 1024: 2}
    unexplained = [n for n, f in Policy.model_fields.items() if n != "schema_version" and not f.description]
    assert unexplained == []


def test_the_hash_follows_the_figures_not_the_layout() -> None:
    policy = parse_policy(TEXT)
    assert parse_policy("# a comment\n" + TEXT).sha256 == policy.sha256
    assert parse_policy(TEXT.replace("min_gain = 0.01", "min_gain = 0.012")).sha256 != policy.sha256


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("min_gain = 0.01", "min_gain = 1.5", "min_gain"),
        ("min_gain = 0.01", "min_gain = 0.05", "planned_effect"),
        ("min_gain = 0.01", "min_gian = 0.01", "min_gian"),
        ("min_gain = 0.01", "", "min_gain"),
        ("min_gain = 0.01", "min_gain = ", "not TOML"),
        ("sessions = 2", "sessions = 1", "sessions"),
        ("schema_version = 1", "schema_version = 2", "schema_version"),
    ],
)
def test_a_faulty_policy_is_refused_by_name(old: str, new: str, told: str) -> None:
    with pytest.raises(UnusableInput, match=told):
        parse_policy(TEXT.replace(old, new, 1))
