"""Where nothing is promoted, or nothing on this machine, no environment is made for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Zmlx
from tests.upgrade.promoting import promote, promotion
from zmlx_bench import exit_codes
from zmlx_bench import workspace as workspaces


def test_where_nothing_is_promoted_nothing_is_made(tmp_path: Path, zmlx_inside: Zmlx) -> None:
    place = workspaces.create(tmp_path / "ws")
    asked = ("upgrade-check", "--environment", "mlx==0.0.1", "--workspace", str(place.root))
    done = zmlx_inside(*asked)
    assert (done.returncode, done.stderr) == (exit_codes.DONE, "")
    assert "nothing is promoted here" in done.stdout
    told = json.loads(zmlx_inside(*asked, "--json").stdout)
    assert told == {"environment": "mlx==0.0.1", "holds": True, "promotions": [], "state": None}
    assert not (place.root / "upgrades").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--backend", "cpu0"), "unknown backend 'cpu0'; did you mean 'cpu'?"),
        (("--backend", ""), "unknown backend ''"),
        (("--prompts", "nobody"), "unknown prompt 'nobody'"),
        (("--prompts", ""), "--prompts: names no prompt"),
        (("--at-most", "2"), "--at-most 2: the policy decides nothing below 3 blocks"),
        (("--at-most", "0"), "--at-most 0: must be at least 1"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_no_answer_that_all_holds(
    tmp_path: Path, zmlx_inside: Zmlx, wrong: tuple[str, ...], says: str
) -> None:
    place = workspaces.create(tmp_path / "ws")
    promote(place, promotion(place, "qwen_native"))
    done = zmlx_inside("upgrade-check", "--environment", "mlx==0.0.1", "--workspace", str(place.root), *wrong)
    assert (done.returncode, done.stdout) == (exit_codes.UNUSABLE, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (place.root / "upgrades").exists()


def test_where_all_is_promoted_on_other_machines_nothing_is_made(tmp_path: Path, zmlx_inside: Zmlx) -> None:
    place = workspaces.create(tmp_path / "ws")
    promote(place, promotion(place, "qwen_native", device="Made CPU"), promotion(place, "qwen_native", cores=4096))
    done = zmlx_inside("upgrade-check", "--environment", "mlx==0.0.1", "--json", "--workspace", str(place.root))
    assert done.returncode == exit_codes.CANNOT, done.stderr
    told = json.loads(done.stdout)
    assert [(one["said"], one["why"].partition(",")[0]) for one in told["promotions"]] == [
        ("unmeasured", "it is promoted on 4096 cores"),
        ("unmeasured", "it is promoted on Made CPU"),
    ]
    assert told["state"] is None
    assert not (place.root / "upgrades").exists()
