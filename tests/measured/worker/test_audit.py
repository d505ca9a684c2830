"""The audit's process itself: which logits it compares, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.generate import generate_step

from tests.instructions import TOKEN_IDS, events, instructions, small_instructions
from tests.tiny import Tiny
from tests.variants import variant
from zmlx_bench.analysis.near import nearness
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.messages import Forced, Prompt
from zmlx_bench.measured.worker import audit
from zmlx_bench.schema.audit import PromptAudit
from zmlx_bench.workspace import Workspace

FORCED = (11, 29, 7, 300)


class Silent:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, event: Any) -> None:
        self.sent.append(event)


@pytest.fixture(scope="module")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op", "shy", "doubles")


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
    logits = np.array(logits.astype(mx.float32))
    assert [int(row.argmax()) for row in logits] == tokens
    for row, (_, logprobs) in zip(logits, generated, strict=True):
        # The loop's log-probabilities are bfloat16.
        np.testing.assert_allclose(row - np.log(np.exp(row).sum()), logprobs, atol=0.07, rtol=0.01)


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_each_prompt_is_compared_once_after_all_arms(family: str, planted: Workspace, tmp_path: Path) -> None:
    told = small_instructions(
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


@pytest.mark.parametrize(("kernel", "outcome"), [("moe_combine.fp32", "pass"), ("doubles", "fail")])
def test_another_rounding_is_near_and_what_is_wrong_is_not(
    kernel: str, outcome: str, planted: Workspace, tmp_path: Path
) -> None:
    forced = {f"p{i}": tuple(11 + (i * 37 + j * 101) % 400 for j in range(6)) for i in range(8)}
    ids = {name: (*TOKEN_IDS[i % 2][: 4 + i], 40 + i) for i, name in enumerate(forced)}
    prompts_told = tuple(Prompt(name, each) for name, each in ids.items())
    resolved = variant("qwen3", f"combine={kernel}")
    told = instructions("qwen3", planted.kernels, resolved, forced=forced, prompts=prompts_told)
    outputs = {f"{i:064x}": tokens for i, tokens in enumerate(forced.values())}
    prompts = [
        PromptAudit(prompt=event["prompt"], output=output, baseline=event["baseline"], variant=event["variant"])
        for output, event in zip(outputs, (e for e in events(told, tmp_path) if e["event"] == "audited"), strict=True)
    ]
    found = nearness(prompts, outputs)
    assert (found.prompts, found.positions) == (8, 6)
    assert found.kl.lower is not None
    assert found.kl.upper is not None
    # Few positions, and what is forced is no answer of the model: it is unsure, and any rounding counts for more.
    margin = 0.05
    assert (found.kl.upper < margin) is (outcome == "pass"), found
    assert (found.kl.lower >= margin) is (outcome == "fail"), found


def test_a_kernel_that_does_not_make_every_step_is_unavailable(planted: Workspace, tmp_path: Path) -> None:
    told = small_instructions(
        "qwen3", planted.kernels, variant("qwen3", "combine=shy"), forced={"p0": FORCED, "p1": FORCED}
    )
    with pytest.raises(Unavailable, match="not called for every"):
        events(told, tmp_path)
