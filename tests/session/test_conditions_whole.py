"""The sessions that people ask for: a context of 3,000 tokens, four sequences at once, a cache of 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.session.conftest import finished
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("option", "cache"),
    [("--context 3000", "KVCache"), ("--batch 4", "BatchKVCache"), ("--kv-bits 8", "QuantizedKVCache")],
)
def test_recorded_checked_and_reported(
    option: str, cache: str, make_workspace: Callable[..., Workspace], zmlx: Callable[..., Any]
) -> None:
    place = make_workspace()
    asked = ("--checkpoint", "tiny", "--tokens", "24", "--tokens", "48", "--runs", "1", "--variants", "qwen_native")
    asked += ("--prompts", "great_wall,lighthouse,primes,tcp_udp")
    done = zmlx("run", "qwen3", *asked, *option.split(), "--workspace", str(place.root), timeout=3000)
    session = finished(place, done)
    assert check_workspace(place).findings == ()
    for tokens in (24, 48):
        capsule = session.capsule("qwen_native", tokens)
        assert capsule.figures.fidelity is not None
        assert (capsule.figures.fidelity.verdict, capsule.figures.fidelity.null_identical) == ("identical", True)
        assert {each.name for run in capsule.runs.variant for each in run.caches} == {cache}
    lengths = [depth.length for depth in session.capsule("qwen_native").figures.depths]
    assert lengths[:3] == ([2048, 3000, lengths[-1]] if "context" in option else lengths[:3])
    report = zmlx("report", "--workspace", str(place.root))
    name, value = option.removeprefix("--").replace("-", " ").rsplit(" ", 1)
    assert f"{name} {value}" in " ".join(report.stdout.split())
