"""Applies a variant to a model: bind every kernel at every host, then replace the hosts' calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import Binding, BindRequest, Unavailable
from zmlx_bench.measured.host import Host, replace_call, stock_call, tokens_of
from zmlx_bench.measured.steps import Calls
from zmlx_bench.measured.variant import KernelUse, Variant

Bound = dict[tuple[str, ...], tuple[Binding, ...]]
"""A host's bindings by their sites, one for each module of the site."""


class Patch:
    """A variant applied to a model. Use `apply`; call `undo` to get the unpatched model back."""

    def __init__(self, bound: Sequence[tuple[Host, Bound, int | None]]) -> None:
        self.calls: Counter[str] = Counter()
        """Calls of each site while counting."""
        self._bound = bound
        self._undo_calls: list[Callable[[], None]] = []

    @property
    def hosts(self) -> dict[str, int]:
        """How many modules each replaced site was found in."""
        found: Counter[str] = Counter()
        for _, bindings, _ in self._bound:
            for sites, places in bindings.items():
                for site in sites:
                    found[site] += len(places)
        return dict(found)

    def install(self, *, count: bool) -> None:
        """Replace the hosts' calls. With `count` every kernel call is counted: for warm-up, not for timing."""
        self._remove_calls()
        for host, bindings, limit in self._bound:
            calls: dict[tuple[str, ...], Any] = {}
            for sites, places in bindings.items():
                each = tuple(self._counted(sites, place.call) if count else place.call for place in places)
                calls[sites] = each if sites[0] in host.places else each[0]
            self._undo_calls.append(replace_call(host.module, _limited(host, calls, limit)))

    def undo(self) -> None:
        """Take every kernel out again and put back what binding changed."""
        self._remove_calls()
        for _, bindings, _ in self._bound:
            for places in bindings.values():
                for place in places:
                    if place.undo is not None:
                        place.undo()
        self._bound = ()

    def _remove_calls(self) -> None:
        for undo in self._undo_calls:
            undo()
        self._undo_calls = []

    def _counted(self, sites: tuple[str, ...], call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(**inputs: Any) -> Any:
            self.calls.update(sites)
            return call(**inputs)

        counted.is_counted = True  # type: ignore[attr-defined]
        return counted


def _limited(host: Host, calls: Calls, limit: int | None) -> Callable[..., Any]:
    stock = stock_call(host.module)
    patched = host.compose(calls)
    if limit is None:
        return patched

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if tokens_of(x) > limit:
            return stock(x, *args, **kwargs)
        return patched(x, *args, **kwargs)

    call.halves = getattr(patched, "halves", patched)  # type: ignore[attr-defined]
    return call


def apply(
    variant: Variant,
    hosts: Sequence[Host],
    backend: str,
    kernels: Path,
) -> Patch:
    """Bind the variant's kernels to the model's hosts and install them.

    `hosts` come from the family, `backend` is `cpu`, `cuda` or `metal`, and `kernels` is the workspace's folder of
    kernels. Raises Unavailable, with nothing changed, when any part does not apply.
    """
    loader.open_kernels(kernels)
    bound: dict[int, Bound] = {}
    limit: dict[int, int | None] = {}
    patch_so_far: list[Binding] = []
    try:
        for kernel in variant.kernels:
            places = [i for i, host in enumerate(hosts) if host.offers(kernel.sites)]
            if not places:
                raise Unavailable(f"{kernel.kernel}: this model has no site {'+'.join(kernel.sites)}")
            bind = _load(kernel)
            for i in places:
                request = BindRequest(kernel.sites, kernel.mode, backend, hosts[i].kinds(kernel.sites))
                first = len(patch_so_far)
                for module in hosts[i].modules(kernel.sites):
                    patch_so_far.append(bind(module, request))
                bound.setdefault(i, {})[kernel.sites] = tuple(patch_so_far[first:])
                limit[i] = _smaller(limit.get(i), kernel.max_tokens)
    except Unavailable:
        for binding in patch_so_far:
            if binding.undo is not None:
                binding.undo()
        raise
    patch = Patch([(hosts[i], bound[i], limit[i]) for i in sorted(bound)])
    patch.install(count=False)
    return patch


def _load(kernel: KernelUse) -> loader.Bind:
    try:
        return loader.load_bind(kernel.kernel)
    except ImportError as error:
        raise Unavailable(f"{kernel.kernel}: cannot be imported: {error}") from error


def _smaller(a: int | None, b: int | None) -> int | None:
    known = [value for value in (a, b) if value is not None]
    return min(known) if known else None
