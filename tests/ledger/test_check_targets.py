"""`zmlx check PATH...`: what a path leads to is what is checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.check.targets import check
from zmlx_bench.workspace import Workspace

GOOD = "capsules/20300101T100000Z-qwen3-0002/qwen3_tiny_cpu_t20_r3_combine_one.json"


def test_a_capsule_that_somebody_sent_is_checked_alone(decided: Workspace, tmp_path: Path) -> None:
    sent = tmp_path / Path(GOOD).name
    shutil.copy(decided.root / GOOD, sent)
    assert check([sent], None).findings == ()
    sent.write_text(sent.read_text().replace('"status": "ok"', '"status": "oom"', 1))
    assert {f.file for f in check([sent], None).findings} == {sent.name}


def test_unusable_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="no such file"):
        check([tmp_path / "absent"], None)
    with pytest.raises(UnusableInput, match="no workspace"):
        check([tmp_path], None)
