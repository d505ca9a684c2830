"""Which gains make greedy text of the synthetic checkpoints depend on its context and not loop?

Prints, for each setting, the share of distinct 8-grams of 1,024 greedy tokens on two prompts, the share of
positions where the two outputs differ, and the time to build. Needs a GPU for the published sizes.
"""

from __future__ import annotations

import argparse
import time

import mlx.core as mx
from mlx_lm.generate import generate_step

from zmlx_bench.analysis.fidelity import distinct_ngrams
from zmlx_bench.catalog import families
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.encode import encode, load_tokenizer
from zmlx_bench.measured.families import loading


def settings(family: str) -> dict[str, dict[str, float]]:
    """Return the settings to try, by name: no gains, those of the queries alone, and the ones in use."""
    chosen = families.facts(family).gains
    return {
        "none": {},
        "query": {name: gain for name, gain in chosen.items() if "down" not in name},
        "in use": chosen,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=families.names())
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--layers", type=int)
    arguments = parser.parse_args()
    tokenizer = load_tokenizer(TINY / f"tiny_{arguments.family}", trust_remote_code=False)
    prompts = [encode(tokenizer, prompt.text) for prompt in prompt_catalog.load(None).prompt[:2]]
    print("| gains | distinct 8-grams | outputs differ | built in s | active GB | peak GB |\n|---|---|---|---|---|---|")
    for name, gains in settings(arguments.family).items():
        start = time.perf_counter()
        mx.reset_peak_memory()
        model = synthetic.build(loading.load(families.folder(arguments.family)), 0, arguments.layers, gains)
        built = time.perf_counter() - start
        peak, active = mx.get_peak_memory() / 1e9, mx.get_active_memory() / 1e9
        outputs = [
            [token for token, _ in generate_step(mx.array(prompt), model, max_tokens=arguments.tokens)]
            for prompt in prompts
        ]
        shares = ", ".join(f"{distinct_ngrams(output):.2f}" for output in outputs)
        differ = sum(a != b for a, b in zip(*outputs, strict=True)) / arguments.tokens
        print(f"| {name} | {shares} | {differ:.2f} | {built:.1f} | {active:.2f} | {peak:.2f} |", flush=True)
        del model
        mx.clear_cache()


if __name__ == "__main__":
    main()
