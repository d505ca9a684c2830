"""Where nothing is promoted no environment is made for it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Zmlx
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
