"""Where does a token's time go in the latent decode step?

    MLX_CUDA_USE_CUDNN_SDPA=0 python benchmarks/chain_phases.py [--keys 200 --keys 1000] [--layers 12]

The chain of the published sizes runs on seeded random weights with as many keys in its caches as asked, without the
rest of the model. Printed is its time a layer, captured ahead and launched one by one, and what a layer's time loses
where one kind of launch or product is left out: what it computes is nonsense then, and the launches around it move
together, so the parts need not add up to the whole.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from zmlx_bench.catalog import families
from zmlx_bench.measured import loader, synthetic
from zmlx_bench.measured.families.loading import load

REPOSITORY = Path(__file__).resolve().parents[1]
STEPS, REPEATS, WARM_UP = 60, 3, 10
ONCE = ("begin", "end", "add_norm", "dense", "dense_down")
"""Links that not every layer has."""


def part(name: str) -> Any:
    """Import a kernel's module."""
    return importlib.import_module(f"zmlx_kernels.{name}")


def named(link: Any) -> str:
    """Return a link's name; a product's is that of what it makes."""
    return str(getattr(link, "name", None) or link.out.name)


class Bench:
    """The links of a model and what they run on."""

    def __init__(self, model: Any) -> None:
        self.extension, self.graphs, self.plans = (
            part("_lib.graph").load(),
            part("_lib.graph.launches"),
            part("mla_graph.plan"),
        )
        for layer in model.layers:
            part("mla_norm_rope.kernel").joined_projection(layer.self_attn)
        self.model, self.shape = model, part("mla_graph.shape").shape_of(model.model)
        self.links = self.plans.Plan(model.model, self.shape, self.extension).links()
        planned = [each for each in self.links if isinstance(each, self.graphs.Planned)]
        self.code = part("_lib.graph.compiled").machine_code(
            self.extension, self.graphs.program(self.plans.HEADERS, planned)
        )
        self.spares = [mx.zeros((1, 1, self.shape.d), self.shape.dtype) for _ in range(4)]
        mx.eval(self.spares)

    def caches(self, keys: int) -> Any:
        """Return what a step after `keys` - 1 tokens writes."""
        caches = make_prompt_cache(self.model)
        self.model(mx.random.randint(0, 1000, (1, keys - 1), key=mx.random.key(7)), cache=caches)
        mx.eval([each.state for each in caches])
        return part("mla_graph.steps").sequences(self.shape, self.extension).hold(caches)

    def microseconds(self, held: Any, links: Sequence[Any], *, ahead: bool = True) -> float:
        """Return the least mean time of a step; every step is of the same token."""
        chain = self.graphs.make_chain(self.extension, self.code, links, self.spares)
        x, numbers = mx.full((1, 1, self.shape.d), 0.5, self.shape.dtype), [held.end, held.end + 1]
        mx.eval(x)

        def run(count: int) -> float:
            began = time.perf_counter()
            for _ in range(count):
                out = self.extension.step(x, chain, held.buffers, numbers)
                if ahead:
                    chain.prepare(held.buffers, numbers)
            mx.eval(out)
            mx.synchronize()
            return (time.perf_counter() - began) / count * 1e6

        run(WARM_UP)
        return min(run(STEPS) for _ in range(REPEATS))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keys", type=int, action="append", help="in the caches, the step's own included")
    parser.add_argument("--layers", type=int, default=12)
    given = parser.parse_args()
    mx.set_default_device(mx.gpu)
    loader.open_kernels(REPOSITORY / "kernels")
    model = synthetic.build(load(families.folder("glm47")), 0, layers=given.layers, sizes={"vocab_size": 4096})
    mx.eval(model.parameters())
    bench = Bench(model)
    kinds = list(dict.fromkeys(name for name in map(named, bench.links) if name not in ONCE))
    for keys in given.keys or (200, 1000):
        held = bench.caches(keys)
        whole = bench.microseconds(held, bench.links)
        singly = bench.microseconds(held, bench.links, ahead=False)
        print(f"{keys} keys: a layer {whole / given.layers:.2f} us captured, {singly / given.layers:.2f} us one by one")
        for kind in kinds:
            rest = bench.microseconds(held, [each for each in bench.links if named(each) != kind])
            print(f"  without {kind:<16} {(whole - rest) / given.layers:6.2f} us less")


if __name__ == "__main__":
    main()
