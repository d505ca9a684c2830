"""What a kernel folder implements: `kernel.py` has `bind(module, request) -> Binding`.

`bind` is called once for each module that holds the kernel's sites, after the weights are loaded. The returned `call`
gets the inputs of its sites as keyword arguments and returns the outputs. What they are at each site stands in the
steps that a family declares (`measured.steps`), and as a table in docs/variants.md, which is made from them. Inputs
and outputs have the model's dtype unless the table says another.

A kernel over several neighbouring sites takes what is not made inside it and returns what is made inside it and needed
afterwards: down+combine gets h, inds, scores and returns out. One kernel may also be bound to a stack of layers and
cover a whole decode step of it, where a family offers that: it is `Steps`, or is called as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class BindRequest:
    """What is asked of a kernel for one module."""

    sites: tuple[str, ...]
    mode: str
    backend: str
    """`cpu`, `cuda` or `metal`."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """By site, which stock arithmetic the model has there, where models differ in it and no shape shows it: for
    `router` it is `softmax`, `sigmoid_bias`, or what else a family declares."""


@dataclass(frozen=True)
class Binding:
    """A kernel bound to one module."""

    call: Callable[..., Any]
    undo: Callable[[], None] | None = None
    """Puts back what `bind` changed in the module; None when it changed nothing."""


@dataclass(frozen=True)
class Split:
    """A call over qkv+qk_norm_rope+attention that can be cut at the cache, so that decode steps can be traced."""

    before: Callable[..., tuple[Any, ...]]
    """before(x, offset) -> what `attend` takes; offset is an int or an int32 array (1,) or (B,)."""
    attend: Callable[..., Any]
    """attend(parts, cache) -> (B, H, 1, rank); updates the cache."""

    def __call__(self, x: Any, offset: Any, cache: Any) -> Any:
        """Do both after each other."""
        return self.attend(self.before(x=x, offset=offset), cache)


@dataclass(frozen=True)
class Steps:
    """A decode step of a stack of layers for one token of one sequence, cut where the caches are.

    h, r and norm (1, 1, D), offset int32 (1,), `parts` what a layer's attention takes and `out` what it gives.
    """

    head: Callable[..., tuple[Any, ...]]
    """head(h, offset) -> parts of the first layer."""
    between: Sequence[Callable[..., tuple[Any, ...]]]
    """Of each layer but the last, between(out, h, offset) -> (h, *parts of the next layer)."""
    tail: Callable[..., Any]
    """tail(out, h) -> the last norm."""

    def __call__(self, h: Any, offset: Any, attends: Sequence[Callable[..., Any]], caches: Sequence[Any]) -> Any:
        """Do all of it; attend(parts, mask, cache) -> out."""
        parts = self.head(h, offset)
        for attend, step, cache in zip(attends[:-1], self.between, caches[:-1], strict=True):
            made = step(attend(parts, None, cache), h, offset)
            h, parts = made[0], made[1:]
        return self.tail(attends[-1](parts, None, caches[-1]), h)


class Unavailable(Exception):
    """Raised by `bind` with one plain sentence: it cannot serve this module or machine. The whole variant is
    then `unavailable`, never silently reduced."""


def require_kind(kernel: str, request: BindRequest, site: str, *served: str) -> str:
    """Return which stock arithmetic the model has at the site; raise Unavailable unless the kernel serves it."""
    kind = request.kinds.get(site, "")
    if kind not in served:
        found = f"of kind {kind}" if kind else "of a kind that the family does not say"
        raise Unavailable(f"{kernel} serves a {site} of kind {' or '.join(served)}; this model's is {found}")
    return kind


def require_parts(kernel: str, module: Any, *names: str) -> None:
    """Raise Unavailable unless the module has all of these attributes, children or arrays."""
    missing = [name for name in names if getattr(module, name, None) is None]
    if missing:
        raise Unavailable(f"{kernel} needs {', '.join(missing)}, which {type(module).__name__} has not")
