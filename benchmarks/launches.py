"""How many primitives does a decode step put into MLX's graph, and which?

    python benchmarks/launches.py qwen3 --variant qwen_fused [--backend cuda]

The graph of one token is built, not evaluated, on the published sizes with few experts and a small vocabulary, for
two layers and for three: the difference is a layer. Host time goes by primitive; a view (a slice, a reshape) starts
no kernel but costs its host time too.

Without a GPU, what MLX does in one primitive there and in several on the CPU (norm, rotation, softmax, fused
attention) and every custom kernel are stood in for by one primitive with the same inputs and shapes. With a GPU
nothing is stood in for.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.families import loading
from zmlx_bench.schema.base import Backend
from zmlx_bench.workspace import Workspace

REPOSITORY = Workspace(Path(__file__).resolve().parents[1])
SMALL = {"vocab_size": 1024, "num_experts": 16, "n_routed_experts": 16, "first_k_dense_replace": 0}
VIEWS = {
    "AsStrided", "Broadcast", "ExpandDims", "Flatten", "NumberOfElements", "Reshape", "Slice", "Split", "Squeeze",
    "StopGradient", "Transpose", "Unflatten", "View",
}  # fmt: skip
FUSED_HEADS = (64, 96, 128, 256)
"""Head sizes for which a decode step's attention is one primitive on a GPU."""
_LABEL = re.compile(r'label ="(\w+)"')
_POSITION = 300


class StandIns:
    """One primitive with given inputs and outputs, counted by name: `Depends` does nothing but wait for its inputs."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self._ready: dict[tuple[tuple[int, ...], str], mx.array] = {}

    def __call__(
        self, name: str, inputs: Sequence[mx.array], outputs: Sequence[tuple[Sequence[int], mx.Dtype]]
    ) -> list[mx.array]:
        self.made[name] += 1
        return list(mx.depends([self._evaluated(tuple(shape), dtype) for shape, dtype in outputs], list(inputs)))

    def like(self, name: str) -> Callable[..., mx.array]:
        """Return a function whose output has the shape of its first input."""

        def call(*inputs: Any, **_: Any) -> mx.array:
            arrays = [x for x in inputs if isinstance(x, mx.array)]
            return self(name, arrays, [(arrays[0].shape, arrays[0].dtype)])[0]

        return call

    def attention(self, stock: Callable[..., mx.array]) -> Callable[..., mx.array]:
        """Return fused attention where a GPU has it."""

        def call(q: mx.array, k: mx.array, v: mx.array, *, mask: Any = None, **rest: Any) -> mx.array:
            if q.shape[-1] not in FUSED_HEADS:
                return stock(q, k, v, mask=mask, **rest)
            arrays = [q, k, v, *([mask] if isinstance(mask, mx.array) else [])]
            return self("ScaledDotProductAttention", arrays, [((*q.shape[:-1], v.shape[-1]), q.dtype)])[0]

        return call

    def dequantize(self, w: mx.array, scales: mx.array, biases: Any = None, *, bits: int, **_: Any) -> mx.array:
        """Take the place of mx.dequantize."""
        inputs = [x for x in (w, scales, biases) if x is not None]
        return self("Dequantize", inputs, [((*w.shape[:-1], w.shape[-1] * 32 // bits), scales.dtype)])[0]

    def kernel(self, *, name: str, **_: Any) -> Callable[..., list[mx.array]]:
        """Take the place of mx.fast.cuda_kernel and metal_kernel."""
        plain = re.sub(r"_[0-9a-f]{12}$", "", name)

        def call(*, inputs: Any, output_shapes: Any, output_dtypes: Any, **_: Any) -> list[mx.array]:
            return self(f"kernel {plain}", inputs, list(zip(output_shapes, output_dtypes, strict=True)))

        return call

    def _evaluated(self, shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
        key = (shape, str(dtype))
        if key not in self._ready:
            self._ready[key] = mx.zeros(shape, dtype)
            mx.eval(self._ready[key])
        return self._ready[key]


@contextmanager
def as_on_a_gpu(stand_ins: StandIns) -> Iterator[None]:
    """Build graphs as on a GPU, with stand-ins."""
    places = {
        "mlx.core.fast.rms_norm": stand_ins.like("RMSNorm"),
        "mlx.core.fast.rope": stand_ins.like("RoPE"),
        "mlx.core.dequantize": stand_ins.dequantize,
        "mlx.core.softmax": stand_ins.like("Softmax"),
        "mlx.core.fast.scaled_dot_product_attention": stand_ins.attention(mx.fast.scaled_dot_product_attention),
        "mlx.core.fast.cuda_kernel": stand_ins.kernel,
        "mlx.core.fast.metal_kernel": stand_ins.kernel,
        "mlx.core.cuda.is_available": lambda: True,
        "mlx.core.metal.is_available": lambda: True,
    }
    patches = [patch(place, what) for place, what in places.items()]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def graph(outputs: Sequence[mx.array]) -> Counter[str]:
    """Count the primitives that `outputs` wait for, by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.dot")
        mx.export_to_dot(str(path), *outputs)
        return Counter(_LABEL.findall(path.read_text(encoding="utf-8")))


def step(model: Any, stand_ins: StandIns) -> Counter[str]:
    """Count a decode step of one token, its caches' new contents included."""
    cache = make_prompt_cache(model)
    model(mx.array([[1]]), cache=cache)
    for each in cache:
        # As after a prompt: filled, evaluated, with room for the next token.
        each.keys, each.values = (
            mx.zeros((*x.shape[:2], 2 * each.step, x.shape[3]), x.dtype) for x in (each.keys, each.values)
        )
        mx.eval(each.keys, each.values)
        each.offset = _POSITION
    stand_ins.made.clear()
    logits = model(mx.array([[2]]), cache=cache)
    found = graph([mx.argmax(logits[:, -1], axis=-1), *(x for each in cache for x in (each.keys, each.values))])
    if found.pop("Depends", 0) != sum(stand_ins.made.values()):
        raise RuntimeError(f"some of {stand_ins.made} reach no output")
    return found + stand_ins.made


def count(family: str, variant: str | None, layers: int, backend: Backend, stand_ins: StandIns) -> Counter[str]:
    """Return the primitives of a token of a model of `layers` layers."""
    known = loading.load(families.folder(family))
    model = synthetic.build(known, 0, layers, sizes=SMALL)
    # A kernel is made once a process, so all counts share the stand-ins.
    with nullcontext() if mx.metal.is_available() or mx.cuda.is_available() else as_on_a_gpu(stand_ins):
        if variant is not None:
            catalog = Catalog(REPOSITORY, family)
            apply(catalog.plain(catalog.resolve(variant)), known.hosts(model), backend, REPOSITORY.kernels)
        return step(model, stand_ins)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=families.names())
    parser.add_argument("--variant", help="beside the unpatched model")
    parser.add_argument("--backend", choices=("cuda", "metal"), default="cuda")
    arguments = parser.parse_args()
    whole = families.facts(arguments.family).config["num_hidden_layers"]
    stand_ins = StandIns()
    for variant in (None, arguments.variant) if arguments.variant else (None,):
        two, three = (count(arguments.family, variant, layers, arguments.backend, stand_ins) for layers in (2, 3))
        layer = three - two
        rest = two - layer - layer
        views = sum(n for name, n in layer.items() if name in VIEWS)
        total, launched = (
            sum(n for name, n in rest.items() if name not in skipped)
            + whole * sum(n for name, n in layer.items() if name not in skipped)
            for skipped in (set[str](), VIEWS)
        )
        print(f"{variant or 'unpatched'}: {sum(layer.values())} primitives a layer, {views} of them views")
        print(f"  {total} a token of {whole} layers, {launched} of them no views")
        for name, n in layer.most_common():
            print(f"  {n:4d}  {name}{' (view)' if name in VIEWS else ''}")
        print(f"  outside the layers: {', '.join(f'{n} {name}' for name, n in rest.most_common())}")


if __name__ == "__main__":
    main()
