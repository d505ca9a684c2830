"""What does the host spend on a token of a decode, and what does it wait for?

    python benchmarks/host_time.py qwen3 --variant stock --variant qwen_step --variant qwen_graph [--tokens 200]

Each variant runs in a process of its own on the synthetic full-size checkpoint (seeded random weights), one after the
other. A token is built (Python makes the model's step and the greedy choice), submitted (`mx.async_eval`) and waited
for one token later, as mlx-lm's generate does. Printed are the medians of a token in milliseconds, tokens a second over
all timed tokens, and whether the tokens are the first variant's.

Stock's own attention is reproducible only with MLX_CUDA_USE_CUDNN_SDPA=0; set it for all variants to compare tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
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


def measure(family_name: str, variant: str, tokens: int, layers: int | None) -> dict[str, Any]:
    """Return a variant's times in this process."""
    mx.set_default_device(mx.gpu)
    family = load(families.folder(family_name))
    sizes: dict[str, Any] = {} if layers is None else {"layers": layers}
    model = synthetic.build(family, 0, **sizes)
    mx.eval(model.parameters())
    if variant != STOCK:
        catalog = Catalog(REPOSITORY, family_name)
        # A variant's environment has to be there when the process starts: main() gives it.
        apply(catalog.plain(catalog.resolve(variant)), family.hosts(model), "cuda", REPOSITORY.kernels)
    return timed(model, tokens)


def timed(model: Any, tokens: int) -> dict[str, Any]:
    """Return the medians of building, submitting and waiting in ms, tokens a second, and a digest of the tokens."""
    prompt = mx.random.randint(0, 1000, (1, PROMPT), key=mx.random.key(7))
    cache = make_prompt_cache(model)
    token: Any = mx.argmax(model(prompt, cache=cache)[:, -1], axis=-1)
    mx.eval(token)
    built, submitted, waited, said = [], [], [], []
    began = 0.0
    for i in range(WARM_UP + tokens):
        if i == WARM_UP:
            began = time.perf_counter()
        start = time.perf_counter()
        logits = model(token[None], cache=cache)[:, -1]
        following = mx.argmax(logits - mx.logsumexp(logits, keepdims=True), axis=-1)
        ready = time.perf_counter()
        SUBMIT(following)
        given = time.perf_counter()
        said.append(int(token.item()))
        got = time.perf_counter()
        token = following
        built.append(ready - start)
        submitted.append(given - ready)
        waited.append(got - given)
    rate = tokens / (time.perf_counter() - began)
    build, submit, wait = (statistics.median(each[WARM_UP:]) * 1e3 for each in (built, submitted, waited))
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
    return {"build_ms": build, "submit_ms": submit, "wait_ms": wait, "decode_tok_s": rate, "tokens": digest}


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("family")
    parser.add_argument("--variant", action="append", dest="variants", required=True, help="stock, or a variant's name")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--layers", type=int, help="fewer layers than the published model's, for a try")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.family, given.variants[0], given.tokens, given.layers)))
        return 0
    first = ""
    print(f"{'variant':<16} {'build':>8} {'submit':>8} {'host':>8} {'wait':>8}   tok/s   tokens")
    for variant in given.variants:
        command = [
            sys.executable,
            __file__,
            given.family,
            "--here",
            "--variant",
            variant,
            "--tokens",
            str(given.tokens),
        ]
        if given.layers is not None:
            command += ["--layers", str(given.layers)]
        env = dict(Catalog(REPOSITORY, given.family).resolve(variant).env) if variant != STOCK else {}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | env)
        if done.returncode != 0:
            print(f"{variant:<16} failed", file=sys.stderr)
            return 1
        row = json.loads(done.stdout.splitlines()[-1])
        first = first or row["tokens"]
        host = row["build_ms"] + row["submit_ms"]
        times = " ".join(f"{row[name]:8.3f}" for name in ("build_ms", "submit_ms"))
        same = "the same" if row["tokens"] == first else "others"
        print(
            f"{variant:<16} {times} {host:8.3f} {row['wait_ms']:8.3f} {row['decode_tok_s']:7.1f}   {same}", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
