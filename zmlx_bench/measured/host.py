"""A host: a module of the model whose call is replaced when a kernel sits at one of its sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zmlx_bench.measured.steps import Block, Calls, Step, kinds


@dataclass(frozen=True)
class Host:
    """A module with sites: those of its block."""

    module: Any
    block: Block
    composer: Callable[[Any, Calls], Callable[..., Any]] | None = None
    """composer(module, calls) -> what replaces the module's call, with the same arguments; by default the block's
    straight line, for a module whose call takes what the block takes."""
    places: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The modules of a site that the host has at several places: a kernel is bound to each of them."""
    whole: tuple[Step, ...] = ()
    """Steps of several modules that one kernel bound to this host may cover at once, and no others."""

    @property
    def whole_sites(self) -> tuple[str, ...]:
        """The sites of `whole`."""
        return tuple(step.site for step in self.whole if step.site)

    def offers(self, sites: tuple[str, ...]) -> bool:
        """Return whether a kernel over exactly these sites can be plugged in here."""
        return self.block.span(sites) is not None or (bool(self.whole) and sites == self.whole_sites)

    def modules(self, sites: tuple[str, ...]) -> tuple[Any, ...]:
        """Return every module that a kernel over `sites` is bound to."""
        return self.places.get(sites[0], (self.module,))

    def kinds(self, sites: tuple[str, ...]) -> dict[str, str]:
        """Return which stock arithmetic the model has at each of these sites where models differ in it."""
        span = self.block.span(sites)
        return kinds(self.whole) if span is None else span.kinds

    def compose(self, calls: Calls) -> Callable[..., Any]:
        """Return what replaces the module's call."""
        return (self.composer or self.block.compose)(self.module, calls)


@dataclass(frozen=True)
class Halves:
    """An attention's call, cut where its cache is: what lies between two caches can be traced as one step.

    `before(x, offset)` gives what `attend(parts, mask, cache)` takes; `after(out)` makes the result of that.
    """

    before: Callable[..., tuple[Any, ...]]
    attend: Callable[[tuple[Any, ...], Any, Any], Any]
    after: Callable[[Any], Any]

    def __call__(self, x: Any, mask: Any = None, cache: Any = None) -> Any:
        """Run both halves after each other."""
        parts = self.before(x=x, offset=cache.offset if cache is not None else 0)
        return self.after(self.attend(parts, mask, cache))


def halves_of(module: Any) -> Halves | None:
    """Return the halves of a module's replaced call, None where it is not replaced or not cut."""
    composed = getattr(type(module), "composed_call", None)
    halves = getattr(composed, "halves", composed)
    return halves if isinstance(halves, Halves) else None


def replace_call(module: Any, call: Callable[..., Any]) -> Callable[[], None]:
    """Make `module(...)` run `call(...)`; return what undoes it.

    Python looks `__call__` up on the class, so the module gets a subclass of its own. Parameters, children
    and every attribute stay as they are.
    """
    stock = type(module)

    def patched_call(_: Any, *args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    names = {"__call__": patched_call, "composed_call": staticmethod(call), "__module__": stock.__module__}
    module.__class__ = type(stock.__name__, (stock,), names)

    def undo() -> None:
        module.__class__ = stock

    return undo


def stock_call(module: Any) -> Callable[..., Any]:
    """Return the module's unpatched call, bound to it; take it before `replace_call`."""
    stock: Callable[..., Any] = type(module).__call__.__get__(module)
    return stock


def tokens_of(x: Any) -> int:
    """Return batch times sequence of an input shaped (B, L, ...)."""
    shape = x.shape
    return int(shape[0] * shape[1])
