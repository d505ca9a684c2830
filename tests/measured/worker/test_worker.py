"""The measured process's own code against a model: its events, its counts, its classification."""

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
from tests.instructions import TOKEN_IDS, TOKENS, events, instructions, small_instructions
from tests.small import hosts_of
from tests.variants import variant
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.messages import PROTOCOL, Prompt, digest
from zmlx_bench.measured.worker.failing import classify
from zmlx_bench.measured.worker.generate import streamer
from zmlx_bench.measured.worker.job import warm_up
from zmlx_bench.measured.worker.load import load
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="session")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op", "shy", "prints", "sleeps")


def process(told: bytes, **env: str) -> tuple[subprocess.CompletedProcess[bytes], list[dict[str, Any]]]:
    """Run a worker's process to its end; return it and its events."""
    read_end, write_end = os.pipe()
    done = subprocess.run(
        [sys.executable, "-m", "zmlx_bench.measured.worker", str(write_end)],
        input=told, capture_output=True, check=False, pass_fds=(write_end,), env={**QUIET_ENV, **env},
    )  # fmt: skip
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        return done, [json.loads(line) for line in pipe.read().splitlines()]


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_it_reports_the_tokens_of_mlx_lms_own_loop(family: str, tmp_path: Path) -> None:
    told = instructions(family)
    found = events(told, tmp_path)
    assert Counter(e["event"] for e in found) == {
        "loaded": 1, "prompts": 1, "warmed": 1, "prompt": 2, "token": 2 * TOKENS, "prompt_end": 2, "done": 1,
    }  # fmt: skip
    model, tokenizer = mlx_load(told.path)[:2]
    tokenizer.eos_token_ids = ()
    ids = [e["id"] for e in found if e["event"] == "token"]
    for i, prompt in enumerate(TOKEN_IDS):
        expected = [r.token for r in stream_generate(model, tokenizer, list(prompt), max_tokens=TOKENS)]
        assert ids[i * TOKENS : (i + 1) * TOKENS] == expected
    times = [e["t_ns"] for e in found if "t_ns" in e]
    assert times == sorted(times)


def test_a_shorter_budgets_end_is_told_with_its_last_token(tmp_path: Path) -> None:
    one = (Prompt("p", TOKEN_IDS[0]),)
    found = events(small_instructions("qwen3", prompts=one, prefixes=(2, 5)), tmp_path)
    whole = events(small_instructions("qwen3", prompts=one), tmp_path)
    kinds = [e["event"] for e in found]
    assert kinds[kinds.index("prompt") : -1] == [
        "prompt", "token", "token", "prefix", "token", "token", "token", "prefix", "token", "prompt_end",
    ]  # fmt: skip
    assert [e["id"] for e in found if e["event"] == "token"] == [e["id"] for e in whole if e["event"] == "token"]
    first, second = (e for e in found if e["event"] == "prefix")
    assert (first["tokens"], second["tokens"]) == (2, 5)
    end, done = found[-2], found[-1]
    assert 0 < first["peak_mem_gb"] <= second["peak_mem_gb"] <= end["peak_mem_gb"]
    for field in ("peak_rss_gb", "page_faults_minor", "page_faults_major"):
        assert 0 <= first[field] <= second[field] <= done[field]


def test_it_tells_what_it_prefills_before_it_does(tmp_path: Path) -> None:
    found = events(small_instructions("qwen3", tokens=2), tmp_path)
    kinds = [e["event"] for e in found]
    assert kinds.index("prompts") < kinds.index("warmed") < kinds.index("prompt")
    assert found[kinds.index("prompts")]["sha256"] == {f"p{i}": digest(ids) for i, ids in enumerate(TOKEN_IDS)}
    assert [e["prompt_tokens"] for e in found if e["event"] == "prompt"] == [*map(len, TOKEN_IDS)]


def test_margins_stand_at_every_token_when_asked_for(tmp_path: Path) -> None:
    found = events(small_instructions("qwen3", margins=True), tmp_path)
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
    one = (Prompt("p", TOKEN_IDS[0]),)
    found = events(
        small_instructions(family, planted.kernels, variant(family, reference), prompts=one, tokens=2), tmp_path
    )
    (patched,) = [e for e in found if e["event"] == "patched"]
    (warmed,) = [e for e in found if e["event"] == "warmed"]
    site = reference.partition("=")[0]
    assert patched["hosts"] == warmed["calls_per_token"] == {site: hosts_of(family, site)}


def test_nothing_is_counted_once_the_kernels_are_warm(planted: Workspace) -> None:
    told = small_instructions("qwen3", planted.kernels, variant("qwen3", "combine=no_op"))
    family = loading.load(Path(told.family_folder))
    model, _ = load(told, family)
    assert told.variant is not None
    patch = apply(told.variant, family.hosts(model), "cpu", planted.kernels)
    generate = streamer(model)
    assert warm_up(generate, list(TOKEN_IDS[0]), patch) == {"combine": hosts_of("qwen3", "combine")}
    counted = dict(patch.calls)
    assert len(list(generate(list(TOKEN_IDS[0]), 3))) == 3
    assert patch.calls == counted


def test_a_kernel_that_never_runs_is_unavailable(planted: Workspace, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the kernel at combine was never called while decoding"):
        events(small_instructions("qwen3", planted.kernels, variant("qwen3", "combine=shy")), tmp_path)


@pytest.mark.process
def test_printing_libraries_do_not_reach_the_pipe(planted: Workspace) -> None:
    told = small_instructions("qwen3", planted.kernels, variant("qwen3", "combine=prints"), tokens=2)
    done, found = process(told.encoded())
    assert done.returncode == 0
    assert done.stdout.count(b'{"event":"done"}') == hosts_of("qwen3", "combine")
    assert Counter(e["event"] for e in found) == {
        "loaded": 1, "patched": 1, "prompts": 1, "warmed": 1, "prompt": 2, "token": 4, "prompt_end": 2, "done": 1,
        "opened": 1,
    }  # fmt: skip


@pytest.mark.process
def test_a_prompt_is_the_same_under_any_locale(tmp_path: Path) -> None:
    told = small_instructions("qwen3", tokens=3)
    done, found = process(told.encoded(), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0
    here = events(told, tmp_path)
    assert [e["sha256"] for e in found if e["event"] == "prompts"] == [
        e["sha256"] for e in here if e["event"] == "prompts"
    ]
    assert [e["id"] for e in found if e["event"] == "token"] == [e["id"] for e in here if e["event"] == "token"]


@pytest.mark.process
def test_instructions_of_another_protocol_are_refused() -> None:
    told = small_instructions("qwen3").encoded().replace(b'"protocol": %d' % PROTOCOL, b'"protocol": 1')
    done, (failed,) = process(told)
    assert (done.returncode, failed["event"], failed["status"]) == (1, "failed", "crash")
    assert failed["message"].startswith(f"ValueError: instructions of protocol 1, and this worker knows {PROTOCOL}")


@pytest.mark.process
def test_a_hung_worker_ends_when_its_supervisor_is_gone(planted: Workspace) -> None:
    read_end, write_end = os.pipe()
    told = small_instructions("qwen3", planted.kernels, variant("qwen3", "combine=sleeps"))
    worker = subprocess.Popen(
        [sys.executable, "-m", "zmlx_bench.measured.worker", str(write_end)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(write_end,), env=QUIET_ENV,
    )  # fmt: skip
    os.close(write_end)
    assert worker.stdin is not None
    with worker.stdin as stdin:
        stdin.write(told.encoded())
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
    assert classify(error) == status
