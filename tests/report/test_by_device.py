"""The view by device: which variant is promoted where, and where the verdicts on one differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import MACHINE, Made, add_session, make_workspace
from tests.conftest import Zmlx
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.workspace import Workspace

OTHER = MACHINE.model_copy(update={"device": "Other CPU"})
FAST, SLOW, EQUAL = Made("fast", 0.08), Made("fast", -0.08), Made("equal", 0.0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two devices: `fast` is fast on one and slow on the other, `equal` is equal on both."""
    made = make_workspace(tmp_path_factory.mktemp("devices") / "ws")
    for hour in (0, 2):
        add_session(made, hour, [FAST, EQUAL])
    add_session(made, 4, [SLOW, EQUAL], machine=OTHER)
    record(made, decide(made, None))
    return made


def test_what_is_promoted_where_and_what_differs(workspace: Workspace, zmlx_inside: Zmlx) -> None:
    told = json.loads(zmlx_inside("report", "--by-device", "--json", cwd=workspace.root).stdout)
    (asked,) = told["questions"]
    assert asked["question"].startswith("qwen3, checkpoint tiny (tiny-0123")
    first, second = asked["places"]
    assert (first["where"].split(",")[0], first["promoted"]) == ("Made CPU (cpu)", "fast")
    assert (second["where"].split(",")[0], second["promoted"]) == ("Other CPU (cpu)", None)
    assert first["verdicts"] == {"fast": "PROMOTE", "equal": "HOLD"}
    assert second["verdicts"] == {"fast": "REJECT", "equal": "HOLD"}
    assert asked["differing"] == {"fast": {"PROMOTE": [first["where"]], "REJECT": [second["where"]]}}


@pytest.mark.parametrize("form", ["table", "md"])
def test_people_read_the_same(workspace: Workspace, zmlx_inside: Zmlx, form: str) -> None:
    done = zmlx_inside("report", "--by-device", "--format", form, cwd=workspace.root)
    text = done.stdout.replace("\\", "")
    assert done.returncode == 0
    assert "fast is promoted" in text
    assert "the stock model" in text
    assert "fast: PROMOTE on Made CPU (cpu), 2 cores, mlx 0.0.1, mlx-lm 0.0.2;" in " ".join(text.split())
    assert "REJECT on Other CPU (cpu)" in text
    assert "equal" not in text.split("iffer on")[1]


def test_one_device_and_none(tmp_path: Path, zmlx_inside: Zmlx) -> None:
    made = make_workspace(tmp_path / "ws")
    assert "No evidence yet" in zmlx_inside("report", "--by-device", cwd=made.root).stdout
    assert "No evidence yet" in zmlx_inside("report", "--by-device", "--format", "md", cwd=made.root).stdout
    add_session(made, 0, [EQUAL])
    assert "asked of one device" in zmlx_inside("report", "--by-device", cwd=made.root).stdout


@pytest.mark.parametrize("form", ["html", "csv"])
def test_other_forms_are_refused(workspace: Workspace, zmlx_inside: Zmlx, form: str) -> None:
    done = zmlx_inside("report", "--by-device", "--format", form, cwd=workspace.root)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert f"not as {form}" in done.stderr
