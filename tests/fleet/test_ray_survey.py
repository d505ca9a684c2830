"""A real Ray node that cannot say what it has at first: it is asked again, and measures once it can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fleet.cluster import NEEDS_RAY, SOON, running
from tests.fleet.heads import Heads, assert_whole
from tests.fleet.real import workspace_in
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.show import standing
from zmlx_bench.schema.fleet import Assigned, Seen, Unused

pytestmark = [pytest.mark.process, pytest.mark.slow, NEEDS_RAY]
WHY = "no driver is loaded"
BROKEN = """
import os, sys
if "zmlx_bench.fleet.survey" in sys.orig_argv and os.path.exists(os.environ["ZMLX_FLEET_BROKEN"]):
    with open(os.environ["ZMLX_FLEET_BROKEN"], "a") as file:
        file.write("asked\\n")
    sys.stderr.write("no driver is loaded\\n")
    sys.stderr.flush()
    os._exit(1)
"""


def test_a_node_whose_survey_failed_measures_after_the_next(tmp_path: Path) -> None:
    """Its Python fails at the start of each survey, as long as a file is there."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    broken = tmp_path / "broken"
    broken.touch()
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with running({**SOON, "PYTHONPATH": path, "ZMLX_FLEET_BROKEN": str(broken)}, size=1) as cluster:
        workspace = workspace_in(tmp_path / "ws")
        heads = Heads(cluster, workspace, sessions=1, families=["qwen3"], variants=["qwen_qkv_joined"])
        try:
            heads.until(lambda: WHY in heads.log.read_text())
            (place,) = journal.runs(workspace)
            (told,) = standing(place).unused.values()
            assert told == f"{WHY}; asked again every 2 s"
            heads.until(lambda: broken.read_text().count("asked") > 2)
            broken.unlink()
            heads.wait()
        finally:
            heads.stop()
    assert_whole(workspace, 1)
    events = list(journal.read(place.journal))
    assert [one.why for one in events if isinstance(one, Unused)] == [told, None]
    kinds = [type(one) for one in events]
    assert kinds.index(Seen) < kinds.index(Assigned)
    assert heads.log.read_text().count(WHY) == 1
