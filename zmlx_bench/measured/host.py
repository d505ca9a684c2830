"""A host: a module of the model whose call is replaced when a kernel sits at one of its sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Calls = Mapping[tuple[str, ...], Any]
"""Bound kernels of one host by the sites that each covers: a callable, or a tuple of them where the host has the
site at several places (`Host.places`)."""


@dataclass(frozen=True)
class Host:
    """A module with sites.

    `compose(calls)` returns the function that replaces the module's call; it takes the same arguments.
    `fusions` are the runs of sites that one kernel may cover at once.
    """

    module: Any
    sites: tuple[str, ...]
    compose: Callable[[Any, Calls], Callable[..., Any]]
    fusions: tuple[tuple[str, ...], ...] = ()
    places: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The modules of a site that the host has at several places: a kernel is bound to each of them."""

    def offers(self, sites: tuple[str, ...]) -> bool:
        """Return whether a kernel over exactly these sites can be plugged in here."""
        return (len(sites) == 1 and sites[0] in self.sites) or sites in self.fusions

    def modules(self, sites: tuple[str, ...]) -> tuple[Any, ...]:
        """Return every module that a kernel over `sites` is bound to."""
        return self.places.get(sites[0], (self.module,))


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
