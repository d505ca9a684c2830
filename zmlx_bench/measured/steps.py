"""A decoder layer as data: steps in the order of the data flow, each with its site and what stock does there.

One declaration serves everything that has to know a layer. A *block* is the steps of one module's call. Any run of
neighbouring steps may be one kernel: it takes what no step of the run makes, and gives what the run makes and somebody
needs afterwards. The call that replaces the module's is a straight line over its steps, written once, when kernels are
bound. `kernels bench`, the contract in the docs and the test of a new kernel read the same steps.

Outside the straight line stay three things, because they are no run of steps of one module:
- the cut of an attention at its cache (`host.Halves`, `contract.Split`): its halves are lines of their own, so that
  what lies between two caches can be traced;
- the residual stream (`families.stack`): its norms lie in neighbouring layers, so the host is the stack of layers;
- a whole decode step (`contract.Steps`): a run over the steps of several modules, which the stack declares as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.inputs import Sizes, Source, Values, no_bytes, ready

Call = Callable[..., Any]
Calls = Mapping[tuple[str, ...], Any]
"""Bound kernels of one host by the sites that each covers: a callable, or a tuple of them where the host has the
site at several places (`Host.places`)."""


@dataclass(frozen=True)
class Step:
    """What the unpatched model does at one stage.

    `inputs` and `outputs` are names with what a reader has to know of each: shape, and dtype where it is not the
    model's. A later step may give a name anew.
    """

    site: str
    """Where a kernel can be plugged; empty for a step that only runs that go over it take along."""
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    stock: Callable[[Any], Call]
    """stock(module) -> call(**inputs) -> the output, or all of them in order."""
    weight_bytes: Callable[[Any, Values], float] = no_bytes
    """Bytes of weights that a call on a module reads, given the values so far and those that it made."""
    kind: str = ""
    """Which stock arithmetic this is, where models differ in it: a kernel is told it, because no shape shows it."""
    alone: bool = True
    """Whether a kernel may cover just this step here; else the site by itself belongs to a module inside."""


@dataclass(frozen=True)
class Block:
    """The steps of one module's call."""

    module: str
    """What `bind` is given, in words."""
    steps: tuple[Step, ...]
    sources: Mapping[str, Source]
    """Draws what no step makes, for `kernels bench`."""
    results: tuple[str, ...] = ()
    """What the call returns; by default the last step's outputs."""
    stock_runs: Mapping[tuple[str, ...], Callable[[Any], Call]] = field(default_factory=dict)
    """What the model does for neighbouring steps in one call, by their sites: taken where no kernel covers any of them,
    because it may choose another way than the steps one by one (sorted tokens in a long prompt)."""

    @property
    def ends(self) -> tuple[str, ...]:
        """Names that the whole block gives."""
        return self.results or tuple(self.steps[-1].outputs)

    def span(self, sites: tuple[str, ...]) -> Span | None:
        """Return the run of steps over exactly these sites, or None where they are not neighbours here."""
        sited = [index for index, step in enumerate(self.steps) if step.site]
        names = tuple(self.steps[index].site for index in sited)
        for first in range(len(names) - len(sites) + 1 if sites else 0):
            if names[first : first + len(sites)] == sites:
                run = Span(self, sited[first], sited[first + len(sites) - 1] + 1)
                return run if len(sites) > 1 or run.steps[0].alone else None
        return None

    def runs(self) -> Iterator[Span]:
        """Yield every run that a kernel may cover, the single sites first."""
        sites = [step.site for step in self.steps if step.site]
        for length in range(1, len(sites) + 1):
            for first in range(len(sites) - length + 1):
                found = self.span(tuple(sites[first : first + length]))
                if found is not None:
                    yield found

    def compose(self, module: Any, calls: Calls) -> Call:
        """Return call(x, ...) -> `ends` of the bound kernels, with stock's step where there is none.

        It takes what no step makes, in the order in which the steps need it.
        """
        bound = {span.first: (span, call) for sites, call in calls.items() if (span := self.span(sites)) is not None}
        covered = {index for span, _ in bound.values() for index in range(span.first, span.end)}
        for sites, stock in self.stock_runs.items():
            run = self.span(sites)
            if run is not None and covered.isdisjoint(range(run.first, run.end)):
                bound[run.first] = (run, stock(module))
        pieces: list[_Piece] = []
        at = 0
        while at < len(self.steps):
            if at in bound:
                span, call = bound[at]
                pieces.append((call, span.inputs, span.outputs))
                at = span.end
            else:
                step = self.steps[at]
                pieces.append((step.stock(module), tuple(step.inputs), tuple(step.outputs)))
                at += 1
        return _straight_line(pieces, self.ends)


_Piece = tuple[Call, tuple[str, ...], tuple[str, ...]]


def _straight_line(pieces: Sequence[_Piece], results: Sequence[str]) -> Call:
    """Return the function that makes these calls after each other: no loop, no dictionary, one frame."""
    scope: dict[str, Any] = {}
    lines: list[str] = []
    for index, (call, inputs, outputs) in enumerate(pieces):
        scope[f"call{index}"] = call
        given = ", ".join(f"{name}={name}" for name in inputs)
        lines.append(f"    {', '.join(outputs)} = call{index}({given})\n")
    needed = _outer_inputs((inputs, outputs) for _, inputs, outputs in pieces)
    text = f"def line({', '.join(needed)}):\n{''.join(lines)}    return {', '.join(results)}\n"
    # Written from declarations alone, whose names are Python's: what an author could have typed by hand.
    exec(compile(text, f"<line of {len(pieces)} calls>", "exec"), scope)
    line: Call = scope["line"]
    return line


def _outer_inputs(steps: Iterator[tuple[Sequence[str], Sequence[str]]]) -> tuple[str, ...]:
    """Return the names that are needed before they are made."""
    made: set[str] = set()
    needed: dict[str, None] = {}
    for inputs, outputs in steps:
        needed.update({name: None for name in inputs if name not in made})
        made.update(outputs)
    return tuple(needed)


@dataclass(frozen=True)
class Span:
    """A run of neighbouring steps of a block, which one kernel may cover."""

    block: Block
    first: int
    end: int

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the run, those without a site among them."""
        return self.block.steps[self.first : self.end]

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of the run."""
        return tuple(step.site for step in self.steps if step.site)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a kernel over the run takes."""
        return _outer_inputs((tuple(step.inputs), tuple(step.outputs)) for step in self.steps)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a kernel over the run gives: what it makes and somebody needs afterwards."""
        if len(self.steps) == 1:
            return tuple(self.steps[0].outputs)
        live = set(self.block.ends)
        for step in reversed(self.block.steps[self.end :]):
            live.difference_update(step.outputs)
            live.update(step.inputs)
        made = dict.fromkeys(name for step in self.steps for name in step.outputs)
        return tuple(name for name in made if name in live)

    @property
    def kinds(self) -> dict[str, str]:
        """Which stock arithmetic the model has, of each site of the run where models differ in it."""
        return kinds(self.steps)

    def words(self, names: Sequence[str], *, given: bool) -> str:
        """Return names with their shapes as they are when the run begins, or, where `given`, when it ends."""
        known: dict[str, str] = {}
        for step in self.steps if given else reversed(self.steps):
            known.update(step.outputs if given else step.inputs)
        return ", ".join(f"{name} {known[name]}".strip() for name in names)

    def stock(self, module: Any) -> Callable[..., tuple[Any, ...]]:
        """Return call(**inputs) -> outputs: the unpatched model's steps."""
        return self._line(module, self.steps, self.outputs)

    def draw(self, module: Any, sizes: Sizes) -> Values:
        """Return random inputs; what the steps before would have made is made by them."""
        before = self.block.steps[: self.first]
        made = {name for step in before for name in step.outputs}
        needed = _outer_inputs((tuple(step.inputs), tuple(step.outputs)) for step in (*before, *self.steps))
        values = {name: self.block.sources[name](module, sizes) for name in needed}
        wanted = [name for name in self.inputs if name in made]
        if wanted:
            line = self._line(module, before, wanted)
            names = _outer_inputs((tuple(step.inputs), tuple(step.outputs)) for step in before)
            outputs = line(**ready({name: values[name] for name in names}))
            values.update(zip(wanted, outputs, strict=True))
        chosen = {name: values[name] for name in self.inputs}
        mx.eval([value for value in chosen.values() if isinstance(value, mx.array)])
        return chosen

    def weight_bytes(self, module: Any, inputs: Values) -> float:
        """Return the bytes of weights that one call with these inputs has to read."""
        values, total = ready(inputs), 0.0
        for step in self.steps:
            made = step.stock(module)(**{name: values[name] for name in step.inputs})
            values.update(zip(step.outputs, made if len(step.outputs) > 1 else (made,), strict=True))
            total += step.weight_bytes(module, values)
        return total

    @staticmethod
    def _line(module: Any, steps: Sequence[Step], results: Sequence[str]) -> Callable[..., tuple[Any, ...]]:
        pieces = [(step.stock(module), tuple(step.inputs), tuple(step.outputs)) for step in steps]
        # The comma makes one result a tuple too.
        return _straight_line(pieces, [*results[:-1], f"{results[-1]},"])


def kinds(steps: Sequence[Step]) -> dict[str, str]:
    """Return the kinds of the steps that have one, by site."""
    return {step.site: step.kind for step in steps if step.kind}
