"""How fast are the native CPU kernels, beside stock mlx in one process?

1. A quantised matvec over the weights of 8 experts of 768 x 2048 (4 bit, groups of 64), for each dtype, instruction
   set and number of threads, against stock's gather_qmm over the same weights, and against a plain read of them.
   Outputs are compared bit for bit. The weights fit a large last-level cache, for all three alike.
2. The same for every other packing, on the widest instruction set and one thread.
3. Decode of the tiny models: stock, native, and the ceiling that the model reaches with its quantised matmuls stubbed
   out (their outputs are constants that still wait for the inputs). Turns alternate; the median is printed.

Times are the best (1, 2) and the median (3) of several turns; other load on the machine shows in both columns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.generate import generate_step
from mlx_lm.models.mla import QuantizedMultiLinear
from mlx_lm.models.switch_layers import QuantizedSwitchLinear
from mlx_lm.utils import load_model

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured import loader
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.host import replace_call
from zmlx_bench.workspace import Workspace

REPOSITORY = Workspace(Path(__file__).resolve().parents[1])
EXPERTS, ROWS, INPUTS = 8, 768, 2048
AT_LEAST_S = 0.3
"""A few turns of what takes a millisecond may all fall where another process has the core's other half."""
PACKING = {"group_size": 64, "bits": 4}
DTYPES = {"bf16": mx.bfloat16, "fp16": mx.float16, "fp32": mx.float32}
PACKINGS: tuple[tuple[str, int, int], ...] = (
    *(("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)),
    ("mxfp4", 4, 32),
    ("mxfp8", 8, 32),
    ("nvfp4", 4, 16),
)
COMBINED = {"qwen3": "qwen_native", "glm47": "glm_native"}


def best_ms(run: Callable[[], mx.array], turns: int) -> float:
    """Return the shortest of at least `turns` evaluations and of as many as AT_LEAST_S takes, in milliseconds."""
    shortest, done, until = float("inf"), 0, time.perf_counter() + AT_LEAST_S
    while done < turns or time.perf_counter() < until:
        start = time.perf_counter()
        mx.eval(run())
        shortest = min(shortest, time.perf_counter() - start)
        done += 1
    return shortest * 1e3


def read_ms(arrays: list[mx.array], turns: int) -> float:
    """Return the shortest time in which one thread adds up the bytes of the arrays as 64-bit words."""
    words = [np.frombuffer(memoryview(a.view(mx.uint8)), dtype=np.uint64) for a in arrays]
    shortest = float("inf")
    for _ in range(turns):
        start = time.perf_counter()
        for view in words:
            np.add.reduce(view)
        shortest = min(shortest, time.perf_counter() - start)
    return shortest * 1e3


def operations(native: ModuleType, turns: int) -> None:
    """Print the table of the operation."""
    print(f"| dtype | bits equal | stock ms | plain read ms | {'ISA, threads'} | native ms | x stock | x read |")
    print("|---|---|---|---|---|---|---|---|")
    mx.random.seed(0)
    for name, dtype in DTYPES.items():
        weights = mx.quantize((mx.random.normal((EXPERTS, ROWS, INPUTS)) * 0.02).astype(dtype), **PACKING)
        x = mx.random.normal((1, INPUTS)).astype(dtype)
        inds = mx.arange(EXPERTS).astype(mx.uint32)
        flat = tuple(a.reshape(EXPERTS * ROWS, -1) for a in weights)
        mx.eval(weights, x, inds, flat)

        def stock(x: mx.array = x, weights: Any = weights, inds: mx.array = inds) -> mx.array:
            return mx.gather_qmm(x, *weights, rhs_indices=inds, transpose=True, **PACKING).reshape(1, -1)

        def run(x: mx.array = x, flat: Any = flat) -> mx.array:
            y: mx.array = native.quantized_matvec(x, flat, **PACKING)
            return y

        expected = np.array(stock().view(mx.uint8))
        read = read_ms(list(flat), 3 * turns)
        slow = best_ms(stock, max(3, turns // 5))
        for isa in native.isas():
            native.set_isa(isa)
            same = np.array_equal(np.array(run().view(mx.uint8)), expected)
            for threads in (1, 2) if (os.cpu_count() or 1) > 1 else (1,):
                native.set_threads(threads)
                fast = best_ms(run, turns)
                print(
                    f"| {name} | {'yes' if same else 'NO'} | {slow:.2f} | {read:.2f} | {isa}, {threads} | {fast:.2f} "
                    f"| {slow / fast:.1f} | {fast / read:.1f} |"
                )
    native.set_isa(native.isas()[0])


def packings(native: ModuleType, turns: int) -> None:
    """Print the table of the packings."""
    native.set_threads(1)
    print(f"\n{native.isa()}, one thread\n")
    print("| packing | dtype | bits equal | stock ms | native ms | x stock |\n|---|---|---|---|---|---|")
    mx.random.seed(0)
    for mode, bits, group in PACKINGS:
        how = {"group_size": group, "bits": bits, "mode": mode}
        for name, dtype in DTYPES.items():
            w, scales, *rest = mx.quantize((mx.random.normal((EXPERTS, ROWS, INPUTS)) * 0.02).astype(dtype), **how)
            weights = (w, scales, rest[0] if rest else None)
            x = mx.random.normal((1, INPUTS)).astype(dtype)
            inds = mx.arange(EXPERTS).astype(mx.uint32)
            flat = tuple(None if a is None else a.reshape(EXPERTS * ROWS, -1) for a in weights)
            mx.eval(w, scales, *rest, x, inds, *(a for a in flat if a is not None))

            def stock(x: mx.array = x, weights: Any = weights, inds: mx.array = inds, how: Any = how) -> mx.array:
                return mx.gather_qmm(x, *weights, rhs_indices=inds, transpose=True, **how).reshape(1, -1)

            def run(x: mx.array = x, flat: Any = flat, how: Any = how) -> mx.array:
                y: mx.array = native.quantized_matvec(x, flat, **how)
                return y

            same = np.array_equal(np.array(run().view(mx.uint8)), np.array(stock().view(mx.uint8)))
            slow, fast = best_ms(stock, max(3, turns // 5)), best_ms(run, turns)
            packing = f"{bits} bit in {group}s" if mode == "affine" else mode
            equal = "yes" if same else "NO"
            print(f"| {packing} | {name} | {equal} | {slow:.2f} | {fast:.2f} | {slow / fast:.1f} |", flush=True)


def stub(module: Any) -> Callable[..., mx.array]:
    """Return a call with the module's output shape and no matmul; it waits for its input as the matmul would."""
    dtype, rows = module["scales"].dtype, module["weight"].shape[-2]
    inputs = module["scales"].shape[-1] * module.group_size
    made: dict[tuple[int, ...], mx.array] = {}

    def call(x: mx.array, inds: Any = None, transpose: bool = True, **_: Any) -> mx.array:
        if isinstance(module, QuantizedSwitchLinear):
            shape = (*inds.shape, 1, rows)
        elif isinstance(module, QuantizedMultiLinear):
            if isinstance(inds, bool):
                transpose = inds
            shape = (x.shape[0], module["weight"].shape[0], x.shape[2], rows if transpose else inputs)
        else:
            shape = (*x.shape[:-1], rows)
        if shape not in made:
            made[shape] = mx.full(shape, 0.01, dtype)
            mx.eval(made[shape])
        return mx.depends([made[shape]], [x])[0]

    return call


@contextmanager
def stubbed(model: Any) -> Iterator[None]:
    """Take every quantised matmul out of the model."""
    kinds = (nn.QuantizedLinear, QuantizedSwitchLinear, QuantizedMultiLinear)
    undo = [replace_call(m, stub(m)) for _, m in model.named_modules() if isinstance(m, kinds)]
    yield
    for put_back in undo:
        put_back()


@contextmanager
def patched(family: str, model: Any, variant: str) -> Iterator[None]:
    """Apply a variant to the model."""
    catalog = Catalog(REPOSITORY, family)
    hosts = loading.load(families.folder(family)).hosts(model)
    patch = apply(catalog.plain(catalog.resolve(variant)), hosts, "cpu", REPOSITORY.kernels)
    yield
    patch.undo()


def decode(model: Any, tokens: int) -> tuple[list[int], float]:
    """Return the tokens of a greedy generation and its decode tok/s after the first token."""
    found: list[int] = []
    times: list[float] = []
    for token, _ in generate_step(mx.arange(20, 60), model, max_tokens=tokens):
        found.append(int(token))
        times.append(time.perf_counter())
    return found, (len(times) - 1) / (times[-1] - times[0])


def models(native: ModuleType, tokens: int, turns: int) -> None:
    """Print the table of whole-model decode."""
    print("\n| model | arm | tok/s | x stock | share of the ceiling | tokens |")
    print("|---|---|---|---|---|---|")
    for family in COMBINED:
        model, _ = load_model(TINY / f"tiny_{family}")
        arms: dict[str, tuple[Any, int]] = {"stock": (None, 1), "ceiling": (stubbed, 1)}
        arms |= {f"{COMBINED[family]}, {n} thread{'s' * (n > 1)}": (patched, n) for n in (1, 2)}
        speeds: dict[str, list[float]] = {arm: [] for arm in arms}
        said: dict[str, list[int]] = {}
        for _ in range(turns):
            for arm, (how, threads) in arms.items():
                native.set_threads(threads)
                if how is None:
                    said[arm], speed = decode(model, tokens)
                elif how is stubbed:
                    with stubbed(model):
                        _, speed = decode(model, tokens)
                else:
                    with patched(family, model, COMBINED[family]):
                        said[arm], speed = decode(model, tokens)
                speeds[arm].append(speed)
        median = {arm: statistics.median(values) for arm, values in speeds.items()}
        for arm, speed in median.items():
            same = "" if arm not in said else "identical" if said[arm] == said["stock"] else "DIFFERENT"
            share = f"{speed / median['ceiling']:.0%}"
            print(f"| tiny_{family} | {arm} | {speed:.1f} | {speed / median['stock']:.2f} | {share} | {same} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=15, help="evaluations of an operation")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each arm of the whole models")
    parser.add_argument("--only", choices=["operations", "packings", "models"])
    arguments = parser.parse_args()
    mx.set_default_device(mx.cpu)
    loader.open_kernels(REPOSITORY.kernels)
    import zmlx_kernels._lib.native as package

    native = package.load()
    print(f"mlx {mx.__version__}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}\n")
    if arguments.only in (None, "operations"):
        operations(native, arguments.turns)
    if arguments.only in (None, "packings"):
        packings(native, arguments.turns)
    if arguments.only in (None, "models"):
        models(native, arguments.tokens, arguments.rounds)


if __name__ == "__main__":
    main()
