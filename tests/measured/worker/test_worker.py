"""The measured process's own code against the tiny model: its events, its counts, its classification."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlx_lm import load as mlx_load
from mlx_lm import stream_generate

from tests.conftest import QUIET_ENV
from tests.tiny import hosts_of
from tests.variants import variant
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.worker.__main__ import _classify, measure
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.schema.event import Instructions
from zmlx_bench.schema.prompts import Prompt
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.workspace import Workspace

TEXTS = ("The sea was calm that night", "def main():")
TOKENS = 6


@pytest.fixture(scope="session")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op", "shy", "prints", "sleeps")


def instructions(
    family: str, workspace: Workspace, resolved: ResolvedVariant | None = None, **changes: Any
) -> Instructions:
    fields: dict[str, Any] = {
        "family": family, "checkpoint_kind": "tiny", "path": str(TINY / f"tiny_{family}"), "seed": 0, "backend": "cpu",
        "variant": resolved, "kernels": str(workspace.kernels), "tokens": TOKENS, "margins": False, "events_fd": 0,
        "limits": {k.kernel: None for k in resolved.kernels} if resolved else {},
        "prompts": [Prompt(id=f"p{i}", domain="x", text=text) for i, text in enumerate(TEXTS)],
    }  # fmt: skip
    return Instructions.model_validate(fields | changes)


def events(told: Instructions, folder: Path) -> list[dict[str, Any]]:
    """Run the worker's measurement here, with a file in place of the pipe."""
    path = folder / "events"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        measure(told, Pipe(descriptor))
    finally:
        os.close(descriptor)
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_it_reports_the_tokens_of_mlx_lms_own_loop(family: str, planted: Workspace, tmp_path: Path) -> None:
    told = instructions(family, planted)
    found = events(told, tmp_path)
    assert Counter(e["event"] for e in found) == {
        "loaded": 1, "warmed": 1, "prompt": 2, "token": 2 * TOKENS, "prompt_end": 2, "done": 1,
    }  # fmt: skip
    model, tokenizer = mlx_load(told.path)[:2]
    tokenizer.eos_token_ids = ()
    ids = [e["id"] for e in found if e["event"] == "token"]
    for i, text in enumerate(TEXTS):
        prompt: Any = text
        if tokenizer.has_chat_template:
            message = [{"role": "user", "content": text}]
            prompt = tokenizer.apply_chat_template(message, add_generation_prompt=True)
        expected = [r.token for r in stream_generate(model, tokenizer, prompt, max_tokens=TOKENS)]
        assert ids[i * TOKENS : (i + 1) * TOKENS] == expected
    times = [e["t_ns"] for e in found if "t_ns" in e]
    assert times == sorted(times)


def test_margins_stand_at_every_token_when_asked_for(planted: Workspace, tmp_path: Path) -> None:
    found = events(instructions("qwen3", planted, margins=True), tmp_path)
    margins = [e["margin"] for e in found if e["event"] == "token"]
    assert len(margins) == 2 * TOKENS
    assert min(margins) >= 0
    assert max(margins) > 0


@pytest.mark.parametrize(
    ("family", "reference"),
    [
        ("qwen3", "combine=no_op"),
        ("glm47", "combine=no_op"),
        ("qwen3", "combine=moe_combine.fp32"),
        ("glm47", "combine=moe_combine.fp32_no_fma"),
        ("qwen3", "qkv=qkv_joined"),
        ("glm47", "qkv=qkv_joined"),
    ],
)
def test_a_site_is_called_as_often_a_token_as_it_has_hosts(
    family: str, reference: str, planted: Workspace, tmp_path: Path
) -> None:
    one = [Prompt(id="p", domain="x", text=TEXTS[0])]
    found = events(instructions(family, planted, variant(family, reference), prompts=one, tokens=2), tmp_path)
    (patched,) = [e for e in found if e["event"] == "patched"]
    (warmed,) = [e for e in found if e["event"] == "warmed"]
    site = reference.partition("=")[0]
    assert patched["hosts"] == warmed["calls_per_token"] == {site: hosts_of(family, site)}


def test_a_kernel_that_never_runs_is_unavailable(planted: Workspace, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the kernel at combine was never called while decoding"):
        events(instructions("qwen3", planted, variant("qwen3", "combine=shy")), tmp_path)


def test_printing_libraries_do_not_reach_the_pipe(planted: Workspace) -> None:
    read_end, write_end = os.pipe()
    told = instructions("qwen3", planted, variant("qwen3", "combine=prints"), tokens=2, events_fd=write_end)
    done = subprocess.run(
        [sys.executable, "-m", "zmlx_bench.measured.worker"],
        input=told.model_dump_json(), capture_output=True, text=True, check=True, pass_fds=(write_end,), env=QUIET_ENV,
    )  # fmt: skip
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        found = [json.loads(line)["event"] for line in pipe.read().splitlines()]
    assert done.stdout.count('{"event":"done"}') == hosts_of("qwen3", "combine")
    assert Counter(found) == {
        "loaded": 1, "patched": 1, "warmed": 1, "prompt": 2, "token": 4, "prompt_end": 2, "done": 1,
    }  # fmt: skip


def test_a_hung_worker_ends_when_its_supervisor_is_gone(planted: Workspace) -> None:
    read_end, write_end = os.pipe()
    told = instructions("qwen3", planted, variant("qwen3", "combine=sleeps"), events_fd=write_end)
    worker = subprocess.Popen(
        [sys.executable, "-m", "zmlx_bench.measured.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(write_end,), env=QUIET_ENV, text=True,
    )  # fmt: skip
    os.close(write_end)
    assert worker.stdin is not None
    with worker.stdin as stdin:
        stdin.write(told.model_dump_json())
    assert b'"loaded"' in os.read(read_end, 4096)
    assert worker.poll() is None, "it hangs in the kernel's bind"
    os.close(read_end)
    assert worker.wait(5) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("no"), "unavailable"),
        (MemoryError(), "oom"),
        (RuntimeError("[malloc] Unable to allocate 17 bytes."), "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom"),
        (RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory (00000008)"), "oom"),
        (ValueError("shapes differ"), "crash"),
    ],
)
def test_what_an_exception_counts_as(error: Exception, status: str) -> None:
    assert _classify(error) == status
