"""What is left to warm up after warm-ups of several lengths, in fresh processes.

    python benchmarks/warm_up.py [--family qwen3] [--variant qwen_qkv_joined] [--rounds 5] [--tokens 64]

Each process loads the tiny checkpoint, warms up, and answers the same prompt twice. What the first answer takes longer
than the second is what the warm-up had left over: ratios of the time to the first token, of the first eight tokens
after it, and of all the others, each the median over the rounds with the smallest and the largest. `twice` is the
warm-up of before: 16 tokens counted, then the prompt and 16 tokens once more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WARM_UPS = ("none", "0", "4", "16", "64", "twice")
FIRST = 8


def measure(family_name: str, variant: str, warm_up: str, tokens: int) -> None:
    """Print what this process took, as JSON: warm-up, and the three ratios."""
    from zmlx_bench.measured.worker.lean import import_loop

    import_loop()
    import mlx.core as mx
    from mlx_lm.utils import load_model

    from zmlx_bench.catalog import families
    from zmlx_bench.catalog.variants import Catalog
    from zmlx_bench.measured.apply import apply
    from zmlx_bench.measured.families import loading
    from zmlx_bench.measured.worker import job
    from zmlx_bench.measured.worker.generate import streamer
    from zmlx_bench.workspace import Workspace

    mx.set_default_device(mx.cpu)
    workspace = Workspace(ROOT)
    family = loading.load(families.folder(family_name))
    model, _ = load_model(ROOT / "zmlx_bench" / "checkpoints" / f"tiny_{family_name}")
    patch = None
    if variant != "stock":
        catalog = Catalog(workspace, family_name)
        chosen = catalog.plain(catalog.resolve(variant))
        patch = apply(chosen, family.hosts(model), "cpu", workspace.kernels)
    generate = streamer(model)
    prompt = list(range(2, 42))

    def answer() -> tuple[float, float, float]:
        mx.clear_cache()
        times = [time.perf_counter()]
        for _ in generate(prompt, tokens):
            times.append(time.perf_counter())
        steps = [after - before for before, after in pairwise(times[1:])]
        return times[1] - times[0], sum(steps[:FIRST]), sum(steps[FIRST:])

    began = time.perf_counter()
    if warm_up == "twice":
        job.warm_up(generate, prompt, patch, 12)
        job.warm_up(generate, prompt, None, 12)
    elif warm_up != "none":
        job.warm_up(generate, prompt, patch, int(warm_up))
    took = time.perf_counter() - began
    first, second = answer(), answer()
    print(json.dumps([took, *(a / b for a, b in zip(first, second, strict=True))]))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="qwen3")
    parser.add_argument("--variant", default="qwen_qkv_joined")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(asked.family, asked.variant, asked.measure, asked.tokens)
        return
    found: dict[str, list[list[float]]] = {name: [] for name in WARM_UPS}
    for number in range(asked.rounds):
        for name in WARM_UPS if number % 2 == 0 else WARM_UPS[::-1]:
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--measure", name],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                sys.exit(done.stderr)
            found[name].append(json.loads(done.stdout))
    print(f"{asked.family}, {asked.variant}, {asked.rounds} rounds, load average {os.getloadavg()[0]:.1f} at the end")
    print(f"| uncounted tokens | warm-up, s | to the first token | {FIRST} tokens after it | the others |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, rows in found.items():
        seconds, *ratios = zip(*rows, strict=True)
        cells = [f"{statistics.median(r):.3f} ({min(r):.3f} to {max(r):.3f})" for r in ratios]
        print(f"| {name} | {statistics.median(seconds):.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
