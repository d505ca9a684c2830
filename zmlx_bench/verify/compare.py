"""Compares a kernel with the unpatched model's own steps: at each of its modules, and in a model of one layer."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from zmlx_bench.bench import modules, truth
from zmlx_bench.bench.schema import BenchTask
from zmlx_bench.measured import loader
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.contract import BindRequest, Unavailable
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.inputs import Filled, Sizes, Values, ready
from zmlx_bench.measured.steps import Span
from zmlx_bench.measured.variant import KernelUse, Variant
from zmlx_bench.schema.verification import VerifiedRow
from zmlx_bench.verify.schema import Instructions

CONTEXTS = (16, 520, 1100)
"""Positions in a cache: few, mid-way between the multiples of 256 at which mlx-lm's caches grow, and beyond the 1,024
up to which MLX attends in one pass."""
PROMPT, SHORT_PROMPT = 130, 8
"""Tokens of a whole model's prompt: long enough for the kernels of long prompts; on the CPU, whose kernels are the same
for both, a short one where the long one takes seconds: at the published sizes, and for a second sequence."""
STEPS = 3


class Bits(NamedTuple):
    """What was compared, in elements of outputs, and how many of them differ."""

    calls: int
    compared: int
    differing: int


class Drawn(NamedTuple):
    """Inputs of a run of steps, and what stock's steps make of them."""

    inputs: Values
    outputs: tuple[mx.array, ...]


class Comparison:
    """A layer at one configuration's sizes, and the comparisons that a task wants of it."""

    def __init__(self, told: Instructions) -> None:
        self._told = told
        self._family = loading.load(Path(told.family_folder))
        vocabulary = any("linear" in task.sites for task in told.tasks)
        self._layer = modules.build(self._family, told.seed, told.sizes, whole_vocabulary=vocabulary)
        self._stock_logits: dict[int, list[mx.array]] = {}
        self._drawn: dict[tuple[object, ...], list[Drawn]] = {}

    def rows(self, task: BenchTask) -> Iterator[VerifiedRow]:
        """Yield a row for each module to which the kernel is bound, then for the whole model."""
        for name, compare in self._places(task):
            row = VerifiedRow(
                kernel=task.kernel,
                mode=task.mode,
                numerics=task.numerics,
                family=self._told.family,
                sites=task.sites,
                sizes=self._told.sizes_name,
                module=name,
                status="ok",
            )
            try:
                yield row.model_copy(update=compare()._asdict())
            except Unavailable as error:
                yield row.model_copy(update={"status": "unavailable", "reason": str(error)})
            except Exception as error:  # noqa: BLE001 - whatever a kernel raises is reported, not lost
                traceback.print_exc()
                yield row.model_copy(update={"status": "crash", "reason": f"{type(error).__name__}: {error}"})

    def _places(self, task: BenchTask) -> Iterator[tuple[str | None, Callable[[], Bits]]]:
        places = self._layer.places(task.sites)
        if not places:

            def nowhere() -> Bits:
                raise Unavailable(f"no site {'+'.join(task.sites)} here")

            yield None, nowhere
            return
        for place in places:
            if place.span is not None:
                yield place.name, functools.partial(self._steps, task, place)
        # In a model a kernel meets prompts, caches that grow and what composes the steps around it. Where its own steps
        # were compared, the tiny sizes do for that.
        if self._told.sizes_name == "tiny" or all(place.span is None for place in places):
            yield "model", functools.partial(self._model, task)

    def _steps(self, task: BenchTask, place: modules.Place) -> Bits:
        if place.span is None:
            raise ValueError(f"{place.name}: no run of steps of one module")
        request = BindRequest(task.sites, task.mode, self._told.backend, place.kinds)
        binding = loader.load_bind(task.kernel)(modules.clone(place.module), request)
        calls = compared = differing = 0
        for batch in sorted({1, min(4, task.max_tokens or 4)}):
            for drawn in self._drawn_for(place.module, place.span, batch):
                ours = binding.call(**ready(drawn.inputs))
                ours = tuple(ours) if isinstance(ours, tuple | list) else (ours,)
                mx.eval(ours)
                changed, total = truth.differing(ours, drawn.outputs)
                calls, compared, differing = calls + 1, compared + total, differing + changed
        mx.clear_cache()
        return Bits(calls, compared, differing)

    def _drawn_for(self, module: Any, span: Span, batch: int) -> list[Drawn]:
        """Return what a kernel over the run of steps is given.

        At the published sizes, whose outputs have thousands of elements, once where no input depends on the cache.
        """
        key = (id(module), span.sites, batch)
        if key not in self._drawn:
            found: list[Drawn] = []
            seen: set[str] = set()
            for context in CONTEXTS:
                mx.random.seed(self._told.seed + batch + context)
                with _stock_runs():
                    inputs = span.draw(module, Sizes(self._layer.config, batch, context))
                shapes = _shapes(inputs)
                if shapes not in seen or self._told.sizes_name == "tiny":
                    with _stock_runs():
                        outputs = span.stock(module)(**ready(inputs))
                        mx.eval(outputs)
                    found.append(Drawn(inputs, outputs))
                seen.add(shapes)
            self._drawn[key] = found
        return self._drawn[key]

    def _model(self, task: BenchTask) -> Bits:
        model = self._layer.model
        calls = compared = differing = 0
        variant = Variant(
            task.kernel,
            self._told.family,
            (KernelUse(task.kernel, task.mode, task.sites, task.max_tokens),),
        )
        for batch in (1, 2):
            stock = self._stock(batch)
            patch = apply(variant, self._layer.hosts, self._told.backend, Path(self._told.kernels))
            try:
                ours = logits(model, self._prompt(batch))
            finally:
                patch.undo()
            changed, total = truth.differing(ours, stock)
            calls, compared, differing = calls + len(stock), compared + total, differing + changed
        mx.clear_cache()
        return Bits(calls, compared, differing)

    def _stock(self, batch: int) -> list[mx.array]:
        if batch not in self._stock_logits:
            with _stock_runs():
                self._stock_logits[batch] = logits(self._layer.model, self._prompt(batch))
        return self._stock_logits[batch]

    def _prompt(self, batch: int) -> mx.array:
        long = self._told.backend != "cpu" or (self._told.sizes_name == "tiny" and batch == 1)
        mx.random.seed(self._told.seed)
        words = min(512, self._layer.config["vocab_size"])
        return mx.random.randint(0, words, (batch, PROMPT if long else SHORT_PROMPT))


@contextlib.contextmanager
def _stock_runs() -> Iterator[None]:
    """Say of a step that MLX refuses on this backend that no kernel can be compared with it."""
    try:
        yield
    except RuntimeError as error:
        raise Unavailable(f"MLX itself does not run the unpatched model here: {error}") from error


def _shapes(inputs: Values) -> str:
    """Return what tells inputs apart, whatever the random values: positions, and the shapes of arrays and caches."""
    parts = [part for it in inputs.values() for part in ((it.keys, it.values) if isinstance(it, Filled) else (it,))]
    return repr([part.shape if isinstance(part, mx.array) else part for part in parts])


def logits(model: Any, prompt: mx.array) -> list[mx.array]:
    """Return the logits of a prefill of prompt (B, L) and of greedy decode steps after it, as mlx-lm makes them."""
    cache = make_prompt_cache(model)
    found = [model(prompt, cache=cache)]
    for _ in range(STEPS):
        token = mx.argmax(found[-1][:, -1:], axis=-1)
        found.append(model(token, cache=cache))
    mx.eval(found)
    return found
