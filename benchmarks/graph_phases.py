"""Where does a token's time go inside the decode graph?

    MLX_CUDA_USE_CUDNN_SDPA=0 python benchmarks/graph_phases.py [--keys 200 --keys 1000]

The graph of the published sizes runs on seeded random weights with as many keys in its caches as asked, without the
rest of the model. Printed are its time a layer, and, from a second build of the same launches whose first blocks write
down the GPU's clock, how long each launch is the one that all wait for: from where its inputs are ready to where the
next one's are. Writing the clock down costs a layer between half a microsecond and two.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.catalog import families
from zmlx_bench.measured import loader, synthetic
from zmlx_bench.measured.families.loading import load

REPEATS = 60
STEPS = itertools.count(1)
STAMP = """
__device__ __forceinline__ void stamp(int launch) {
  if (threadIdx.x == 0 && blockIdx.x == 0 && blockIdx.y == 0) {
    unsigned* to = reinterpret_cast<unsigned*>(%dull);
    unsigned long long now;
    asm volatile("mov.u64 %%0, %%globaltimer;" : "=l"(now));
    const unsigned at = atomicAdd(to, 1u);
    if (at < %d) {
      to[16 + at * 3] = launch;
      to[16 + at * 3 + 1] = unsigned(now);
      to[16 + at * 3 + 2] = unsigned(now >> 32);
    }
  }
}
"""
MOST_STAMPS = 4096


def part(name: str) -> Any:
    """Import a kernel's module."""
    return importlib.import_module(f"zmlx_kernels.{name}")


class Bench:
    """The graphs of a model and what they run on."""

    def __init__(self, model: Any) -> None:
        self.extension = part("_lib.graph").load()
        self.launches, self.plans = part("_lib.graph.launches"), part("decoder_graph.plan")
        part("decoder_step.kernel").decoder_step(model.model)  # joins the projections
        self.shape = self.plans.shape_of(model.model)
        self.plan = self.plans.Plan(model.model, self.shape, self.extension)
        self.stamps = mx.zeros((16 + 3 * MOST_STAMPS,), mx.uint32)
        mx.eval(self.stamps)

    def graph(self, keys: int, *, stamped: bool) -> tuple[Any, list[str]]:
        """Return the graph for `keys` keys, and the launches' names by the numbers that they stamp."""
        found = self.plan.launches(long=keys > self.plans.ONE_PASS)
        text = self.launches.program(self.plans.HEADERS, found)
        names: list[str] = []
        if stamped:
            text, names = with_stamps(text, address(self.stamps))
        spares = [mx.zeros((1, 1, self.shape.d), self.shape.dtype) for _ in range(4)]
        mx.eval(spares)
        code = part("_lib.graph.compiled").machine_code(self.extension, text)
        return self.launches.make_graph(self.extension, code, found, spares), names

    def buffers(self, capacity: int) -> Any:
        """Return caches of random keys and values."""
        size = (1, self.shape.hk, capacity, self.shape.hd)
        arrays = [mx.random.normal(size).astype(self.shape.dtype) for _ in range(2 * self.shape.layers)]
        mx.eval(arrays)
        return self.extension.Buffers(arrays)

    def microseconds(self, graph: Any, buffers: Any, keys: int, capacity: int, repeats: int) -> float:
        """Return the time of a step."""
        h = mx.random.normal((1, 1, self.shape.d)).astype(self.shape.dtype)
        mx.eval(h)
        for repeat in range(repeats + 5):
            if repeat == 5:
                mx.synchronize()
                began = time.perf_counter()
            self.extension.step(h, graph, buffers, [keys - 1, capacity, next(STEPS)])
        mx.synchronize()
        return (time.perf_counter() - began) / repeats * 1e6

    def phases(self, keys: int, buffers: Any, capacity: int) -> dict[str, float]:
        """Return for each kind of launch the mean microseconds for which all wait for it."""
        graph, names = self.graph(keys, stamped=True)
        self.microseconds(graph, buffers, keys, capacity, 5)
        reset(address(self.stamps))
        self.microseconds(graph, buffers, keys, capacity, 1)
        # A copy: what the host reads moves to where the host is, and the graph writes to where it was.
        words: Any = (self.stamps + 0).tolist()
        rows = [words[16 + 3 * i : 19 + 3 * i] for i in range(min(words[0], MOST_STAMPS))]
        events = sorted((low | high << 32, names[launch]) for launch, low, high in rows)
        found: dict[str, list[float]] = defaultdict(list)
        for (start, name), (end, following) in itertools.pairwise(events):
            if following != "begin":
                found[name].append((end - start) / 1e3)
        return {name: sum(each) / len(each) for name, each in found.items()}


def address(array: mx.array) -> int:
    """Return where an array lies on the GPU."""
    body = "auto at = reinterpret_cast<unsigned long long>(a); o[0] = uint32_t(at); o[1] = uint32_t(at >> 32);"
    kernel: Any = mx.fast.cuda_kernel(name="where", input_names=["a"], output_names=["o"], source=body)
    (out,) = kernel(
        inputs=[array], grid=(1, 1, 1), threadgroup=(1, 1, 1), output_shapes=[(2,)], output_dtypes=[mx.uint32]
    )
    low, high = (int(each.item()) for each in out)
    return low | high << 32


def reset(where: int) -> None:
    """Begin the stamps anew."""
    body = f"reinterpret_cast<unsigned*>({where}ull)[0] = 0; o[0] = a[0];"
    kernel: Any = mx.fast.cuda_kernel(name="reset", input_names=["a"], output_names=["o"], source=body)
    mx.eval(
        kernel(
            inputs=[mx.zeros((1,), mx.uint32)],
            grid=(1, 1, 1),
            threadgroup=(1, 1, 1),
            output_shapes=[(1,)],
            output_dtypes=[mx.uint32],
        )
    )
    mx.synchronize()


def with_stamps(text: str, where: int) -> tuple[str, list[str]]:
    """Return the program with a stamp after each kernel's inputs are ready, and the kernels' names by number."""
    head, *rest = re.split(r'(?=extern "C" __global__ void )', text)
    marker = "__device__ __forceinline__ void inputs_ready()"
    names: list[str] = []
    found = head.replace(marker, STAMP % (where, MOST_STAMPS) + marker)
    for kernel in rest:
        named = re.search(r"\) (\w+?)_[0-9a-f]{12}\(", kernel)
        if named is None:
            raise RuntimeError("a kernel without a name")
        stamp = f"inputs_ready(); stamp({len(names)});"
        found += kernel.replace("inputs_ready();", stamp, 1)
        names.append(named.group(1))
    return found, names


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, action="append", help="200 and 1,000 by default")
    given = parser.parse_args()
    mx.set_default_device(mx.gpu)
    loader.open_kernels(Path(__file__).resolve().parents[1] / "kernels")
    model = synthetic.build(load(families.folder("qwen3")), 0)
    mx.eval(model.parameters())
    bench = Bench(model)
    asked = given.keys or [200, 1000]
    capacity = -(-(max(asked) + 1) // 256) * 256
    buffers = bench.buffers(capacity)
    for keys in asked:
        graph, _ = bench.graph(keys, stamped=False)
        total = bench.microseconds(graph, buffers, keys, capacity, REPEATS)
        print(f"{keys} keys: {total:.0f} us, {total / bench.shape.layers:.2f} us a layer")
        for name, each in bench.phases(keys, buffers, capacity).items():
            print(f"  {name:<16} {each:6.2f} us")


if __name__ == "__main__":
    main()
