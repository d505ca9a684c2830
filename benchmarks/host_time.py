"""What does the host spend on a token of a decode, and what does it wait for?

    python benchmarks/host_time.py qwen3 --variant stock --variant qwen_graph [--tokens 200 --tokens 1024] [--prompts 3]

Each variant runs in a process of its own on the synthetic full-size checkpoint (seeded random weights), one after the
other. A token is built (Python makes the model's step and the greedy choice), submitted (`mx.async_eval`) and waited
for one token later, as mlx-lm's generate does. Printed are, for each number of tokens, the medians of a token of the
first prompt in milliseconds, tokens a second over its timed tokens, the peak of MLX's memory over all prompts, and on
how many of them the tokens are the first variant's. `host` is building and submitting, and `cpu` the part of it in
which the thread had a core: the rest is waiting. Hosts differ: first stands what a fixed loop takes on this one.

Stock's own attention is reproducible only with MLX_CUDA_USE_CUDNN_SDPA=0; set it for all variants to compare tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.families.loading import load
from zmlx_bench.workspace import Workspace

REPOSITORY = Workspace(Path(__file__).resolve().parents[1])
STOCK = "stock"
SUBMIT: Any = mx.async_eval
WARM_UP = 30
PROMPT = 64
LOOP = 1_000_000
"""Additions of the loop that tells hosts apart."""
TIMES = ("build_ms", "submit_ms", "cpu_ms", "wait_ms")
"""Of a token: building, submitting, the thread's own time in both, and waiting for the token before."""
HEAD = ("build", "submit", "host", "cpu", "wait")
Row = dict[str, Any]


def measure(family_name: str, variant: str, budgets: Sequence[int], prompts: int, layers: int | None) -> list[Row]:
    """Return a variant's row of each budget, measured in this process."""
    mx.set_default_device(mx.gpu)
    family = load(families.folder(family_name))
    sizes: dict[str, Any] = {} if layers is None else {"layers": layers}
    model = synthetic.build(family, 0, **sizes)
    mx.eval(model.parameters())
    if variant != STOCK:
        catalog = Catalog(REPOSITORY, family_name)
        # A variant's environment has to be there when the process starts: main() gives it.
        apply(catalog.plain(catalog.resolve(variant)), family.hosts(model), "cuda", REPOSITORY.kernels)
    mx.reset_peak_memory()
    runs = [timed(model, number, max(budgets)) for number in range(prompts)]
    peak = mx.get_peak_memory() / 1e9
    return [
        {
            "tokens": budget,
            **dict(zip(TIMES, medians(runs[0].times[:budget]), strict=True)),
            "decode_tok_s": budget / runs[0].ends[budget - 1],
            "peak_gb": peak,
            "said": [digest(each.said[: WARM_UP + budget]) for each in runs],
        }
        for budget in budgets
    ]


@dataclass(frozen=True)
class Run:
    """A prompt's tokens, and of those after the warm-up the seconds of TIMES and their ends, in seconds from the first
    one's beginning."""

    said: list[int]
    times: list[tuple[float, ...]]
    ends: list[float]


def medians(times: Sequence[tuple[float, ...]]) -> list[float]:
    """Return the medians of TIMES in ms."""
    return [statistics.median(each) * 1e3 for each in zip(*times, strict=True)]


def digest(said: list[int]) -> str:
    """Return a digest of tokens."""
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def timed(model: Any, number: int, tokens: int) -> Run:
    """Return what the model says to a random prompt and when."""
    prompt = mx.random.randint(0, 1000, (1, PROMPT), key=mx.random.key(7 + number))
    cache = make_prompt_cache(model)
    token: Any = mx.argmax(model(prompt, cache=cache)[:, -1], axis=-1)
    mx.eval(token)
    said, times, ends = [], [], []
    began = 0.0
    for i in range(WARM_UP + tokens):
        if i == WARM_UP:
            began = time.perf_counter()
        start, own = time.perf_counter(), time.thread_time()
        logits = model(token[None], cache=cache)[:, -1]
        following = mx.argmax(logits - mx.logsumexp(logits, keepdims=True), axis=-1)
        ready = time.perf_counter()
        SUBMIT(following)
        given, own = time.perf_counter(), time.thread_time() - own
        said.append(int(token.item()))
        got = time.perf_counter()
        token = following
        times.append((ready - start, given - ready, own, got - given))
        ends.append(got - began)
    return Run(said, times[WARM_UP:], ends[WARM_UP:])


def loop_ms() -> float:
    """Return the milliseconds that this host takes for LOOP additions in Python, the best of three."""
    best = math.inf
    for _ in range(3):
        start, total = time.perf_counter(), 0
        for i in range(LOOP):
            total += i
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family")
    parser.add_argument("--variant", action="append", dest="variants", required=True, help="stock, or a variant's name")
    parser.add_argument("--tokens", type=int, action="append", help="200 by default")
    parser.add_argument("--prompts", type=int, default=1, help="whose tokens are compared")
    parser.add_argument("--layers", type=int, help="fewer layers than the published model's, for a try")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    budgets = sorted(given.tokens or [200])
    if given.here:
        print(json.dumps(measure(given.family, given.variants[0], budgets, given.prompts, given.layers)))
        return 0
    first: dict[int, list[str]] = {}
    print(f"a loop of {LOOP:,} additions: {loop_ms():.1f} ms")
    print(" ".join((f"{'variant':<16} tokens", *(f"{each:>8}" for each in HEAD), "  tok/s peak GB   the same tokens")))
    for variant in given.variants:
        command = [sys.executable, __file__, given.family, "--here", "--variant", variant]
        command += [each for budget in budgets for each in ("--tokens", str(budget))]
        command += ["--prompts", str(given.prompts)]
        if given.layers is not None:
            command += ["--layers", str(given.layers)]
        env = dict(Catalog(REPOSITORY, given.family).resolve(variant).env) if variant != STOCK else {}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | env)
        if done.returncode != 0:
            print(f"{variant:<16} failed", file=sys.stderr)
            return 1
        for row in json.loads(done.stdout.splitlines()[-1]):
            print(line(variant, row, first.setdefault(row["tokens"], row["said"])), flush=True)
    return 0


def line(variant: str, row: Row, first: Sequence[str]) -> str:
    """Return a row as text; `first` are the first variant's digests."""
    host = row["build_ms"] + row["submit_ms"]
    shown = (row["build_ms"], row["submit_ms"], host, row["cpu_ms"], row["wait_ms"])
    times = " ".join(f"{each:8.3f}" for each in shown)
    same = sum(a == b for a, b in zip(row["said"], first, strict=True))
    figures = f"{times} {row['decode_tok_s']:7.1f} {row['peak_gb']:7.3f}"
    return f"{variant:<16} {row['tokens']:>6} {figures}   {same} of {len(first)} prompts"


if __name__ == "__main__":
    sys.exit(main())
