"""Holds hosts to the model: random tokens go through it as it is, and once more with each host's steps put together.

Every call of every host is compared, bit for bit. What differs is not offered; what the model never calls neither.
Hosts of one structure are tried at the first of them that the model calls, and all structures at once: the model
answers twice, and once more for each kind of host where one differs. No expert is asked by itself.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from zmlx_bench.measured.host import Host, replace_call, stock_call

SHAPES = (70, 1, 1)
"""Tokens of the passes: a prompt in which mlx-lm sorts the tokens of its experts, then two that are decoded."""
FEW = 4
"""Most tokens of a call that kernels for decode serve: above it the model's own runs are taken, as they are then."""
WORDS = 256
NEVER = "the model does not call it"
OTHER = "its steps, put together, do not give the model's bits"
SEPARATE = "its projections are not all taken of one input"


@dataclass
class Candidate:
    """A module that looks as if it had sites."""

    path: str
    host: Host
    structure: Hashable = field(init=False)
    """What hosts have in common of which one is tried for all."""

    def __post_init__(self) -> None:
        self.structure = structure(self.host)

    @property
    def kind(self) -> Hashable:
        """Its block and its class: hosts that fall together."""
        return self.host.block.module, type(self.host.module)


def structure(host: Host) -> Hashable:
    """Return what decides how a host's module computes: its classes, plain settings, shapes, dtypes, quantisation."""
    parts: list[Hashable] = []
    for path, module in host.module.named_modules():
        parts.append((path, type(module), tuple(sorted(_settings(module)))))
    arrays = ((path, array.shape, str(array.dtype)) for path, array in tree_flatten(host.module.parameters()))
    return host.block.module, tuple(parts), tuple(sorted(arrays))


def _settings(module: Any) -> list[tuple[str, str]]:
    plain = (bool, int, float, str, type(None))
    return [(name, repr(value)) for name, value in vars(module).items() if isinstance(value, plain)]


def fallen(model: Any, candidates: Sequence[Candidate]) -> dict[Hashable, str]:
    """Return why a structure is not offered, for those that are not."""
    found: dict[Hashable, str] = {}
    if not candidates:
        return found
    stock = _Heard()
    try:
        stock.listen(model, [(one, stock_call(one.host.module)) for one in candidates])
    except Exception as error:  # noqa: BLE001 - whatever a model raises of itself
        why = f"the model does not answer random tokens: {type(error).__name__}: {error}"
        return {one.structure: why for one in candidates}
    found.update({one.structure: NEVER for one in candidates if one.structure not in stock.first})
    first = list(stock.first.values())
    if _differing(model, stock, first, found):
        # What comes after a host that differs may differ because of it: each kind is asked by itself.
        for kind in dict.fromkeys(one.kind for one in first):
            alike = [one for one in first if one.kind == kind and one.structure not in found]
            odd = _differing(model, stock, alike, found)
            if odd is not None:
                found.update({one.structure: odd for one in alike if one.structure not in found})
    return found


def _differing(model: Any, stock: _Heard, chosen: Sequence[Candidate], found: dict[Hashable, str]) -> str | None:
    """Put the hosts' steps together; say why not where one of them differs, and note those of several inputs."""
    mirrored = _Heard()
    mirrored.listen(model, [(one, stock_line(one.host)) for one in chosen])
    found.update(dict.fromkeys(mirrored.separate, SEPARATE))
    odd = [one for one in mirrored.first if one in mirrored.raised or mirrored.digests[one] != stock.digests[one]]
    return mirrored.raised.get(odd[0], OTHER) if odd else None


@dataclass
class _Heard:
    """What the hosts gave in the passes: of each structure, the first of it that the model calls."""

    first: dict[Hashable, Candidate] = field(default_factory=dict)
    """In the order of the calls."""
    digests: dict[Hashable, list[str]] = field(default_factory=dict)
    """One for each call."""
    raised: dict[Hashable, str] = field(default_factory=dict)
    separate: set[Hashable] = field(default_factory=set)

    def listen(self, model: Any, calls: Sequence[tuple[Candidate, Callable[..., Any]]]) -> None:
        """Let the model answer with these calls in the places of its modules' own."""
        undo: list[Callable[[], None]] = []
        try:
            for one, call in calls:
                undo.append(replace_call(one.host.module, self._listened(one, call)))
            _answer(model)
        finally:
            for put_back in reversed(undo):
                put_back()

    def _listened(self, one: Candidate, call: Callable[..., Any]) -> Callable[..., Any]:
        stock = stock_call(one.host.module)

        def listened(*args: Any, **kwargs: Any) -> Any:
            if self.first.setdefault(one.structure, one) is not one:
                return stock(*args, **kwargs)
            try:
                if not args:
                    raise TypeError("its input is given by name")
                out = call(*args, **kwargs)
                noted = digest(out)
            except Exception as error:  # noqa: BLE001 - a form that was only supposed may fail in any way
                self.raised.setdefault(one.structure, f"{OTHER}: {type(error).__name__}: {error}")
                out, noted = stock(*args, **kwargs), "raised"
            if not getattr(call, "complete", True):
                self.separate.add(one.structure)
            self.digests.setdefault(one.structure, []).append(noted)
            return out

        return listened


def recorded(model: Any, modules: Mapping[str, Any]) -> dict[str, list[tuple[mx.array, str]]]:
    """Return by path what each module was given and the digest of what it gave, call by call.

    What takes more than one argument is not recorded; nothing is where the model does not answer.
    """
    found: dict[str, list[tuple[mx.array, str]]] = {path: [] for path in modules}

    def listening(path: str, stock: Callable[..., Any]) -> Callable[..., Any]:
        def listened(*args: Any, **kwargs: Any) -> Any:
            out = stock(*args, **kwargs)
            if len(args) == 1 and not kwargs:
                found[path].append((args[0], digest(out)))
            return out

        return listened

    undo = [replace_call(module, listening(path, stock_call(module))) for path, module in modules.items()]
    try:
        _answer(model)
    except Exception:  # noqa: BLE001 - it is said where the hosts are tried
        return {path: [] for path in modules}
    finally:
        for put_back in undo:
            put_back()
    return found


def _answer(model: Any) -> None:
    words = random.Random(0)
    known = min(WORDS, max((_rows(module) for _, module in model.named_modules()), default=0) or WORDS)
    cache = make_prompt_cache(model)
    for tokens in SHAPES:
        ids = [[words.randrange(known) for _ in range(tokens)]]
        mx.eval(model(mx.array(ids), cache=cache))


def _rows(module: Any) -> int:
    embeds = isinstance(module, nn.Embedding | nn.QuantizedEmbedding)
    return int(module.weight.shape[0]) if embeds else 0


def stock_line(host: Host) -> Callable[..., Any]:
    """Return the host's call as it is put together with the model's own step at every site."""
    block = host.block
    each: dict[tuple[str, ...], Any] = {s.sites: _stock(host, s) for s in block.runs() if len(s.sites) == 1}
    in_runs = {site for sites in block.stock_runs for site in sites}
    without = {sites: call for sites, call in each.items() if sites[0] not in in_runs}
    whole = host.compose(each)
    if not in_runs or mx.default_device().type == mx.DeviceType.cpu:
        return whole
    of_many = host.compose(without)
    return lambda x, *args, **kwargs: (whole if math.prod(x.shape[:-1]) <= FEW else of_many)(x, *args, **kwargs)


def _stock(host: Host, span: Any) -> Any:
    (step,) = span.steps
    calls = tuple(step.stock(module) for module in host.modules(span.sites))
    return calls if step.site in host.places else calls[0]


def digest(out: Any) -> str:
    """Return the SHA-256 of every array of a call's results, with its shape and dtype."""
    found = hashlib.sha256()
    for path, array in tree_flatten(out if isinstance(out, list | tuple | dict) else [out]):
        if isinstance(array, mx.array):
            found.update(f"{path} {array.shape} {array.dtype}\0".encode())
            held: Any = mx.contiguous(array).reshape(-1).view(mx.uint8)
            found.update(memoryview(held))
    return found.hexdigest()
