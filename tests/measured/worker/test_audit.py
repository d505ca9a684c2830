"""The audit's process itself: which logits it compares, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.generate import generate_step

from tests.instructions import events, instructions
from tests.tiny import Tiny
from tests.variants import variant
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.messages import Forced
from zmlx_bench.measured.worker import audit
from zmlx_bench.workspace import Workspace

FORCED = (11, 29, 7, 300)


class Silent:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, event: Any) -> None:
        self.sent.append(event)


@pytest.fixture(scope="module")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op", "shy")


def test_forced_logits_are_those_that_decoding_sees(tiny: Tiny) -> None:
    prompt = [5, 6, 7, 8]
    generated = []
    for token, logprobs in generate_step(mx.array(prompt), tiny.model, max_tokens=5):
        generated.append((token, np.array(logprobs.astype(mx.float32))))
    tokens = [token for token, _ in generated]
    pipe: Any = Silent()
    forcings = [("p", prompt, tokens)]
    [logits] = audit._logits(pipe, "baseline", tiny.model, forcings, [audit._prefilled(tiny.model, prompt)])
    assert pipe.sent == [Forced(arm="baseline", prompt="p")]
    assert logits.shape[0] == len(tokens)
    assert [int(row.argmax()) for row in logits] == tokens
    for row, (_, logprobs) in zip(logits, generated, strict=True):
        # The loop's log-probabilities are bfloat16.
        np.testing.assert_allclose(row - np.log(np.exp(row).sum()), logprobs, atol=0.07, rtol=0.01)


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_each_prompt_is_compared_once_after_all_arms(family: str, planted: Workspace, tmp_path: Path) -> None:
    told = instructions(
        family,
        planted.kernels,
        variant(family, "combine=no_op"),
        forced={"p0": FORCED, "p1": FORCED[:2]},
        limits={"no_op": 4},
    )
    found = events(told, tmp_path)
    arms = [event["arm"] for event in found if event["event"] == "forced"]
    assert arms == ["baseline"] * 2 + ["variant"] * 2 + ["reference"] * 2
    audited = {event["prompt"]: event for event in found if event["event"] == "audited"}
    assert {prompt: len(event["variant"]["kl"]) for prompt, event in audited.items()} == {"p0": 4, "p1": 2}
    assert all(event["variant"] == event["baseline"] for event in audited.values())
    assert found[-1]["event"] == "done"


def test_a_kernel_that_does_not_make_every_step_is_unavailable(planted: Workspace, tmp_path: Path) -> None:
    told = instructions("qwen3", planted.kernels, variant("qwen3", "combine=shy"), forced={"p0": FORCED, "p1": FORCED})
    with pytest.raises(Unavailable, match="not called for every"):
        events(told, tmp_path)
