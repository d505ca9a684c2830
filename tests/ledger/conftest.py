"""A small decided workspace, made once and copied for each test that plants a fault in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.builders import Made, add_session, make_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="session")
def _decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = make_workspace(tmp_path_factory.mktemp("decided") / "workspace")
    fast = Made("combine_one", 0.1)
    add_session(workspace, 0, [fast, Made("other_one", 0.0, wrong_at=10)], blocks=3)
    add_session(workspace, 24, [fast, Made("other_one", -0.2)], blocks=3)
    record(workspace, decide(workspace, None))
    return workspace.root


@pytest.fixture
def decided(_decided: Path, tmp_path: Path) -> Workspace:
    """Two sessions: `combine_one` is faster by a tenth and promoted; `other_one` diverges, then is slow."""
    shutil.copytree(_decided, tmp_path / "decided")
    return Workspace(tmp_path / "decided")
