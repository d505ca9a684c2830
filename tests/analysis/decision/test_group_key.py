"""Which group evidence is of, and which other groups it holds for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zmlx_bench import files
from zmlx_bench.analysis.decision.adapter import key_of_session
from zmlx_bench.analysis.decision.evidence import GroupKey
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.session import Session

LANDED = sorted((Path(__file__).parents[3] / "capsules").glob("*/session.json"))
OLD = GroupKey("qwen3", "0" * 64, Conditions(), "cpu", "AMD EPYC", None, "0.32.4", "0.32.2")
NEW = replace(OLD, device="AMD EPYC (family 25 model 17, 2 cores)", cores=2)


@pytest.mark.parametrize("path", LANDED, ids=lambda path: path.parent.name)
def test_landed_evidence_keeps_its_group(path: Path) -> None:
    told = json.loads(path.read_text())
    key = key_of_session(files.read_json(path, Session))
    assert (key.device, key.cores) == (told["machine"]["device"], told["machine"].get("cores"))
    if key.cores is None:
        named = key.device if key.backend == "cuda" else f"{key.device} (family 25 model 17, 8 cores)"
        assert key.covers(replace(key, device=named, cores=8)), "what was promoted then is promoted on that device now"
    else:
        assert key.covers(key)
        assert not key.covers(replace(key, cores=key.cores + 1))


def test_what_was_not_recorded_is_not_held_against_old_evidence_and_nothing_else_is_forgiven() -> None:
    assert OLD.covers(NEW)
    assert not NEW.covers(OLD)
    assert not OLD.covers(replace(NEW, device="AMD EPYC 9V74 (family 25 model 17, 2 cores)"))
    assert not NEW.covers(replace(NEW, device="AMD EPYC (family 25 model 1, 2 cores)"))
    assert not replace(NEW, device="Apple M4 Max (32-core GPU)").covers(
        replace(NEW, device="Apple M4 Max (40-core GPU)")
    )
