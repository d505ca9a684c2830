"""Any text model that mlx-lm loads: sites are found by what its modules are, and held to the model's own bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmlx_bench.measured.api import LINEAR, LINEAR_PER_HEAD, NORM_BLOCK, Family, Host, linear_hosts
from zmlx_bench.measured.families import projections

from . import blocks, experts, residual
from .trial import Candidate, fallen


def _order(path: str) -> list[tuple[int, str]]:
    """Return what sorts paths as the model's layers stand."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


class Structural(Family):
    """Blocks of experts, attention's projections of one input, the residual stream, and quantised projections."""

    blocks = (*blocks.FORMS.values(), experts.BLOCK, *projections.BLOCKS, NORM_BLOCK, LINEAR, LINEAR_PER_HEAD)
    _known: tuple[Any, list[tuple[str, Host, str | None]]] | None = None

    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module with sites whose steps give the model's bits."""
        return [host for _, host, why_not in self.tried(model) if why_not is None]

    def tried(self, model: Any) -> list[tuple[str, Host, str | None]]:
        """Return path and host of every module that looks as if it had sites, and why it is not offered, if it is not.

        A model is tried once, however often it is asked.
        """
        if self._known is None or self._known[0] is not model:
            paths = {id(module): path for path, module in model.named_modules()}
            whole = list(blocks.hosts(model))
            held = {id(switch) for _, host in whole for switch in host.module.children().values()}
            named = [*whole, *(each for each in experts.hosts(model) if id(each[1].module) not in held)]
            named += [*projections.hosts(model), *residual.hosts(model)]
            named += [(paths[id(host.module)], host) for host in linear_hosts(model)]
            candidates = [Candidate(path, host) for path, host in sorted(named, key=lambda each: _order(each[0]))]
            reasons = fallen(model, candidates)
            self._known = (model, [(one.path, one.host, reasons.get(one.structure)) for one in candidates])
        return self._known[1]
