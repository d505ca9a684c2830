"""Does putting a decode step together cost the host more than it did at another commit?

    git worktree add /tmp/old 159cd2d
    python benchmarks/compose.py /tmp/old [--family qwen3] [--blocks 60]

Both checkouts are loaded into this process, one after the other, each with a tiny model of its own and the same kernels
at the same sites: the unpatched arithmetic, so that what differs is the composition around it. A step is built and
not evaluated, from a cache that is put back each time. Blocks alternate (old, new, new, old); the ratio is that of the
medians in a block, with its 95% interval over the blocks.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

HERE = Path(__file__).resolve().parents[1]
PROMPT = list(range(5, 25))
STEPS = 40
"""Steps of a checkout in half a block."""
KERNEL = """
from types import SimpleNamespace

def bind(module, request):
    stock = type(module).__call__.__get__(module)
    def combine(y, scores):
        return (y * scores[..., None]).sum(axis=-2).astype(y.dtype)
    def residual_norm(x, r):
        h = x + r
        return h, stock(h)
    def qkv(x):
        return module.q_proj(x), module.k_proj(x), module.v_proj(x)
    def latent(x):
        return module.q_a_proj(x), module.kv_a_proj_with_mqa(x)
    calls = {"combine": combine, "residual_norm": residual_norm, "qkv": qkv if "q_norm" in module else latent}
    return SimpleNamespace(call=calls[request.sites[0]], undo=None)
"""
CASES = (("combine",), ("qkv",), ("residual_norm",), ("combine", "qkv", "residual_norm"))
Step = Callable[[], None]


def enter(checkout: Path) -> None:
    """Import `zmlx_bench` from this checkout from now on; what was imported before lives on in those who hold it."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("zmlx_bench", "zmlx_kernels")]:
        del sys.modules[name]
    sys.path[:] = [str(checkout), *(entry for entry in sys.path if entry not in (str(checkout), str(HERE)))]


def patched(family: str, sites: tuple[str, ...], kernels: Path, *, old: bool) -> Any:
    """Return a tiny model with the kernels at the sites, composed as the checkout entered last does it."""
    tiny = importlib.import_module("zmlx_bench.checkpoints.resolve").TINY
    model, _ = load_model(tiny / f"tiny_{family}")
    if old:
        schema = importlib.import_module("zmlx_bench.schema.variant")
        hosts = importlib.import_module("zmlx_bench.families.registry").load(family).hosts(model)
        uses = [schema.ResolvedKernel(kernel="same", mode="stock", sites=(site,), numerics="stock",
                                      source_sha256="0" * 64) for site in sites]  # fmt: skip
        made = schema.ResolvedVariant(name="same", family=family, why="composition", kernels=tuple(uses))
        apply = importlib.import_module("zmlx_bench.patch.apply").apply
        apply(made, hosts, "cpu", kernels, {"same": None})
    else:
        plain = importlib.import_module("zmlx_bench.measured.variant")
        folder = importlib.import_module("zmlx_bench.catalog.families").folder(family)
        hosts = importlib.import_module("zmlx_bench.measured.families.loading").load(folder).hosts(model)
        made = plain.Variant("same", family, tuple(plain.KernelUse("same", "stock", (site,), None) for site in sites))
        importlib.import_module("zmlx_bench.measured.apply").apply(made, hosts, "cpu", kernels)
    return model


def builder(model: Any) -> Step:
    """Return what builds one decode step of the model, always from the same cache."""
    cache = make_prompt_cache(model)
    mx.eval(model(mx.array([PROMPT]), cache=cache), *[layer.state for layer in cache])
    held = [(layer.keys, layer.values, layer.offset) for layer in cache]
    token = mx.array([[7]])

    def build() -> None:
        for layer, (keys, values, offset) in zip(cache, held, strict=True):
            layer.keys, layer.values, layer.offset = keys, values, offset
        model(token, cache=cache)

    return build


def median_us(build: Step) -> float:
    """Return the median time of a step, microseconds of this thread: others may want the processor too."""
    found = []
    for _ in range(STEPS):
        start = time.thread_time()
        build()
        found.append(time.thread_time() - start)
    return statistics.median(found) * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="checkout of 159cd2d")
    parser.add_argument("--family", action="append", help="default: qwen3 and glm47")
    parser.add_argument("--blocks", type=int, default=60)
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)
    print("| family | kernels at | old us | new us | new / old | 95% interval |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        kernels = Path(folder) / "kernels"
        (kernels / "same").mkdir(parents=True)
        (kernels / "same" / "kernel.py").write_text(KERNEL)
        for family in arguments.family or ("qwen3", "glm47"):
            for sites in CASES:
                enter(arguments.old.resolve())
                old = builder(patched(family, sites, kernels, old=True))
                enter(HERE)
                new = builder(patched(family, sites, kernels, old=False))
                row(family, sites, old, new, arguments.blocks)


def row(family: str, sites: tuple[str, ...], old: Step, new: Step, blocks: int) -> None:
    """Measure one case and print it."""
    for build in (old, new):
        median_us(build)
    gc.collect()
    gc.freeze()
    ratios, before, after = [], [], []
    for _ in range(blocks):
        first, second, third, fourth = median_us(old), median_us(new), median_us(new), median_us(old)
        before.append((first + fourth) / 2)
        after.append((second + third) / 2)
        ratios.append(math.log(after[-1] / before[-1]))
    from zmlx_bench.analysis.decision.statistics import mean_interval

    mean, low, high = mean_interval(ratios, 0.95)
    print(
        f"| {family} | {' '.join(sites)} | {statistics.median(before):.1f} | {statistics.median(after):.1f} "
        f"| {math.exp(mean):.4f} | [{math.exp(low):.4f}, {math.exp(high):.4f}] |",
        flush=True,
    )


if __name__ == "__main__":
    main()
