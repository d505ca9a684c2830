"""The cross-over of one process, here with a file in place of the pipe: its order, its tokens, what it drops."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.instructions import TOKENS, small_instructions
from tests.variants import variant
from zmlx_bench.measured.messages import Conditions
from zmlx_bench.measured.worker.crossover import LeftTraces, cross_over
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="module")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op", "doubles", "unavailable", "shy", "stays", "raises_late")


def crossed(planted: Workspace, folder: Path, *names: str, **stock: Any) -> list[dict[str, Any]]:
    """Cross over with planted kernels; return the events, those before an exception too. `stock` replaces fields of
    the stock model's instructions."""
    told = [small_instructions("qwen3", planted.kernels, **stock)]
    for name in names:
        made = variant("qwen3", f"combine={name}").model_copy(update={"name": name})
        told.append(small_instructions("qwen3", planted.kernels, made))
    path = folder / "events"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        cross_over(told, Pipe(descriptor))
    finally:
        os.close(descriptor)
    return [json.loads(line) for line in path.read_text().splitlines()]


def segments(found: list[dict[str, Any]]) -> list[tuple[str, list[int]]]:
    """The arm and the tokens of each segment."""
    parts: list[tuple[str, list[int]]] = []
    for event in found:
        if event["event"] == "began":
            parts.append((event["arm"], []))
        elif event["event"] == "token":
            parts[-1][1].append(event["id"])
    return parts


def test_every_arm_has_the_same_mean_position_and_what_diverges_or_is_unavailable_is_dropped_at_once(
    planted: Workspace, tmp_path: Path
) -> None:
    found = crossed(planted, tmp_path, "doubles", "no_op", "unavailable", "shy")
    arms = [arm for arm, _ in segments(found)]
    half = ["baseline", "doubles", "no_op", "unavailable", "shy", "null"]
    assert arms == [*half, "null", "no_op", "baseline"]
    (stock,) = {tuple(tokens) for arm, tokens in segments(found) if arm in ("baseline", "null", "no_op")}
    assert len(stock) == TOKENS
    doubles = next(tokens for arm, tokens in segments(found) if arm == "doubles")
    assert doubles[:-1] == [*stock][: len(doubles) - 1]
    assert doubles[-1] != stock[len(doubles) - 1], "it stops at its first token that is not stock's"
    dropped = {event["arm"]: event for event in found if event["event"] == "dropped"}
    assert {arm: event["status"] for arm, event in dropped.items()} == {
        "doubles": "diverged", "unavailable": "unavailable", "shy": "unavailable",
    }  # fmt: skip
    assert dropped["doubles"]["matched"] == len(doubles) - 1
    assert dropped["unavailable"]["message"] == "needs a machine that is not here"
    assert "never called" in dropped["shy"]["message"]
    assert found[-1]["event"] == "done"


@pytest.mark.slow
def test_under_conditions_every_segment_has_the_same_context_and_the_same_batch(
    planted: Workspace, tmp_path: Path
) -> None:
    asked = Conditions(context=tuple(range(40, 52)), batches=(("p0", "p1"),), max_kv_size=16)
    found = crossed(planted, tmp_path, "no_op", "doubles", conditions=asked)
    steps = [
        (event["id"], *event["others"]) for event in found if event["event"] == "token" and len(event["others"]) == 1
    ]
    whole = [tokens for arm, tokens in segments(found) if arm != "doubles"]
    assert [len(tokens) for tokens in whole] == [TOKENS] * 6
    assert len({*map(tuple, whole)}) == 1
    assert len(steps) == sum(event["event"] == "token" for event in found)
    assert [event["arm"] for event in found if event["event"] == "dropped"] == ["doubles"]


@pytest.mark.slow
def test_a_prompt_goes_in_anew_for_each_segment(planted: Workspace, tmp_path: Path) -> None:
    found = crossed(planted, tmp_path, "no_op")
    kinds = [kind for kind, _ in groupby(event["event"] for event in found)]
    assert kinds[0] == "loaded"
    assert kinds.count("prompt") == kinds.count("prompt_end") == kinds.count("began") == 6
    times = [event["t_ns"] for event in found if "t_ns" in event]
    assert times == sorted(times)


def test_a_variant_that_cannot_be_taken_out_again_ends_the_process(planted: Workspace, tmp_path: Path) -> None:
    with pytest.raises(LeftTraces, match="stays was taken out, and the model is not what it was"):
        crossed(planted, tmp_path, "stays", "no_op")
    assert '"arm":"no_op"' not in (tmp_path / "events").read_text()


def test_a_variant_that_raises_ends_the_process(planted: Workspace, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="planted in decode"):
        crossed(planted, tmp_path, "raises_late")
    began = [event for line in (tmp_path / "events").read_text().splitlines() if "arm" in (event := json.loads(line))]
    assert [event["arm"] for event in began] == ["baseline", "raises_late"]
