"""Every schema version that ever landed stays readable: one workspace of each under `tests/data/schema/v<N>`.

When a format changes, `SCHEMA_VERSION` rises, a workspace of the new version is added here, and the old ones stay
as they are: this test then asks for their migration. A folder is never edited.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.conftest import Zmlx
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide
from zmlx_bench.ledger.evidence import read_evidence
from zmlx_bench.report.build import build
from zmlx_bench.schema.base import SCHEMA_VERSION
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

DATA = Path(__file__).resolve().parents[1] / "data" / "schema"
LANDED = {
    "v1": "291caf7be4133b1d224758f79d95bd4d0e39f748682590342362f363033fbe09",
}
"""Hash over the files of each folder, so that none is edited to suit a newer reader."""


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return found.hexdigest()


@pytest.fixture(params=sorted(LANDED))
def landed(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    shutil.copytree(DATA / request.param, tmp_path / "workspace")
    (tmp_path / "workspace" / "kernels").mkdir()
    return Workspace(tmp_path / "workspace")


def test_every_version_has_its_folder_as_it_landed() -> None:
    assert {f"v{n}" for n in range(1, SCHEMA_VERSION + 1)} <= set(LANDED)
    assert {path.name for path in DATA.iterdir()} == set(LANDED)
    assert {name: digest(DATA / name) for name in LANDED} == LANDED


def test_it_holds_and_is_decided_from(landed: Workspace) -> None:
    checked = check_workspace(landed)
    assert checked.findings == ()
    assert (checked.sessions, checked.rows) == (2, checked.capsules)
    assert checked.capsules >= 4
    decided = decide(landed, None)
    assert decided.refusals == ()
    assert decided.after == decided.before
    assert decided.after.promotion
    assert build(landed, None).groups


def test_every_artifact_of_it_is_read(landed: Workspace, zmlx_inside: Zmlx) -> None:
    rows = matrix.read(landed.matrix)
    for row in rows:
        assert read_evidence(landed.root / row.capsule).schema_version <= SCHEMA_VERSION
        assert store.load(landed, row.session).state == "finished"
    assert any('"audit":' not in (landed.root / row.capsule).read_text() for row in rows), "before there was an audit"
    assert any('"audit":' in (landed.root / row.capsule).read_text() for row in rows)
    shown = zmlx_inside("capsule", "show", str(landed.root / rows[0].capsule))
    assert shown.returncode == 0
    assert rows[0].variant in shown.stdout
    assert "EDITED" not in shown.stdout
