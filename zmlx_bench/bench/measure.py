"""Measures one kernel at one module: its figures at each batch, beside stock's steps on copies of the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from zmlx_bench.bench import figures, modules, truth
from zmlx_bench.bench.chain import Call, Chain
from zmlx_bench.bench.schema import BenchFigures
from zmlx_bench.machine import memory
from zmlx_bench.measured.contract import Binding
from zmlx_bench.measured.inputs import Filled, Sizes, Values, ready
from zmlx_bench.measured.steps import Span

COLD_BYTES = 256e6
"""What a rotation touches at least, where memory allows: five times an H200's last-level cache."""
MEMORY_SHARE = 0.2
MOST_COPIES = 48
CONTEXT = 520
"""Positions in the cache: attention reads them, and rotary embeddings start there. Mid-way between the multiples of
256 at which mlx-lm's cache grows."""
SAMPLE_S = 0.15
SAMPLES = 9
REFERENCES = 2


@dataclass(frozen=True)
class Bench:
    """Stock and kernel on the same inputs and on weights of the same values, each in memory of its own."""

    span: Span
    stock: Sequence[Any]
    """Modules that no kernel was bound to."""
    bound: Sequence[Binding]
    inputs: Sequence[Values]
    experts: int
    copy_gb_s: float
    effort: float

    def call_stock(self) -> Call:
        """Return stock's call over the copies."""
        calls = [self.span.stock(module) for module in self.stock]
        return lambda copy, inputs: calls[copy % len(calls)](**inputs)

    def call_kernel(self) -> Call:
        """Return the kernel's call over the copies."""
        calls = [binding.call for binding in self.bound]

        def call(copy: int, inputs: Values) -> tuple[Any, ...]:
            out = calls[copy % len(calls)](**inputs)
            return tuple(out) if isinstance(out, tuple | list) else (out,)

        return call

    def figures(self) -> BenchFigures:
        """Measure."""
        stock, kernel = self.call_stock(), self.call_kernel()
        differ, compared, errors, stock_errors = self._compare(stock, kernel)
        chain = Chain(self.inputs, self.span.inputs[0])
        calls = max(chain.calls_for(call, SAMPLE_S * self.effort) for call in (kernel, stock))
        ours: list[float] = []
        theirs: list[float] = []
        links: list[float] = []
        for index in range(SAMPLES):
            pair: list[tuple[Call, list[float]]] = [(stock, theirs), (kernel, ours)]
            for call, samples in pair if index % 2 == 0 else reversed(pair):
                samples.append(chain.sample(call, calls))
            links.append(chain.sample_link(calls))
        moved, weights, activations = self._moved(kernel)
        us, link = figures.spread(ours), figures.spread(links)
        rate = figures.gb_s(moved, us.median)
        return BenchFigures(
            us=us,
            stock_us=figures.spread(theirs),
            speedup=figures.ratios(theirs, ours),
            link_us=link,
            samples=SAMPLES,
            calls=calls,
            copies=len(self.inputs),
            weight_copies=len(self.stock),
            weight_bytes=weights,
            activation_bytes=activations,
            gb_s=rate,
            copy_gb_s=self.copy_gb_s,
            share=rate / self.copy_gb_s,
            share_without_link=figures.share_without_link(moved, us.median, link.median, self.copy_gb_s),
            temporary_bytes=temporary(kernel, self.inputs[0]),
            stock_temporary_bytes=temporary(stock, self.inputs[0]),
            differing=differ,
            compared=compared,
            error=max(errors, key=lambda error: error.relative),
            stock_error=max(stock_errors, key=lambda error: error.relative),
        )

    def _compare(self, stock: Call, kernel: Call) -> tuple[int, int, list[Any], list[Any]]:
        differ = compared = 0
        errors, stock_errors = [], []
        for copy, inputs in enumerate(self.inputs):
            theirs, ours = stock(copy, ready(inputs)), kernel(copy, ready(inputs))
            mx.eval(theirs, ours)
            changed, total = truth.differing(ours, theirs)
            differ, compared = differ + changed, compared + total
            if copy < REFERENCES:
                exact = truth.reference(self.span, self.stock[copy % len(self.stock)], inputs)
                errors.append(truth.deviation(self.span, ours, exact, self.experts))
                stock_errors.append(truth.deviation(self.span, theirs, exact, self.experts))
        return differ, compared, errors, stock_errors

    def _moved(self, kernel: Call) -> tuple[float, float, int]:
        """Return (all, weights, activations) bytes of a call."""
        weights = [
            self.span.weight_bytes(self.stock[copy % len(self.stock)], inputs)
            for copy, inputs in enumerate(self.inputs)
        ]
        activations = _nbytes(self.inputs[0].values()) + _nbytes(kernel(0, ready(self.inputs[0])))
        mean = sum(weights) / len(weights)
        return mean + activations, mean, activations


def prepare(
    span: Span,
    module: Any,
    config: Any,
    batch: int,
    bind: Callable[[Any], Binding],
    copy_gb_s: float,
    effort: float = 1.0,
) -> Bench:
    """Draw inputs, copy the weights as often as memory allows and coldness needs, bind the kernel to each copy."""
    sizes = Sizes(config, batch, CONTEXT)
    first = span.draw(module, sizes)
    weights = span.weight_bytes(module, first)
    inputs, copies = figures.copies(
        weights + _nbytes(first.values()),
        modules.held(module) if weights else 0,
        COLD_BYTES,
        # Stock and the kernel each have copies of their own, and binding may lay them out anew.
        memory.read().available_gb * 1e9 * MEMORY_SHARE / 2,
        MOST_COPIES,
    )
    drawn = [first, *(span.draw(module, sizes) for _ in range(inputs - 1))]
    stock = [modules.clone(module) for _ in range(copies)]
    bound = [bind(modules.clone(module)) for _ in range(copies)]
    return Bench(span, stock, bound, drawn, _experts(config), copy_gb_s, effort)


def temporary(call: Call, inputs: Values) -> int:
    """Return the bytes by which a call's peak memory exceeds what stood before and what it returned."""
    prepared = ready(inputs)
    mx.synchronize()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    outputs = call(0, prepared)
    mx.eval(outputs)
    mx.synchronize()
    return max(0, mx.get_peak_memory() - before - _nbytes(outputs))


def _nbytes(values: Iterable[Any]) -> int:
    return sum(int(value.nbytes) for value in values if isinstance(value, mx.array | Filled))


def _experts(config: Any) -> int:
    return int(config.get("num_experts") or config.get("n_routed_experts") or 0)
