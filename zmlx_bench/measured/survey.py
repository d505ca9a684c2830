"""`python -m zmlx_bench.measured.survey`: which sites a loaded model has, and which variants can be applied to it.

Once a session, in a process of its own, whose memory is free again when the first worker starts. In: a worker's
`Instructions` without a variant, and `variants`. Out: `sites` and, by variant, why it cannot be applied (null where it
can), or `error`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from zmlx_bench.measured import messages
from zmlx_bench.measured.variant import KernelUse, Variant
from zmlx_bench.measured.worker.lean import import_loop


def main() -> int:
    """Answer; 0 also where the answer is an error."""
    told = json.loads(sys.stdin.buffer.read())
    # What a library prints goes to standard error from here.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # The checkpoint was resolved and checked: nothing is fetched from here.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        instructions = messages.instructions(json.dumps(told["instructions"]).encode("ascii"))
        answer = survey(instructions, [_variant(each) for each in told["variants"]])
    # An architecture's module may leave: mlx-lm has one that asks for another package so.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - mlx-lm raises whatever a checkpoint makes it raise
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error}"}
    with os.fdopen(answers, "wb") as file:
        file.write(json.dumps(answer).encode("ascii"))
    return 0


def _variant(told: dict[str, Any]) -> Variant:
    uses = (KernelUse(**{**use, "sites": tuple(use["sites"]), "needs": tuple(use["needs"])}) for use in told["kernels"])
    return Variant(**{**told, "kernels": tuple(uses)})


def survey(instructions: messages.Instructions, variants: Sequence[Variant]) -> dict[str, Any]:
    """Load the model, find its sites, and apply each variant to it and undo it."""
    from zmlx_bench.measured.worker import device

    device.take(instructions.backend)
    import_loop()
    from zmlx_bench.measured.apply import apply
    from zmlx_bench.measured.contract import Unavailable
    from zmlx_bench.measured.families import loading
    from zmlx_bench.measured.primitives import check_needs
    from zmlx_bench.measured.worker.load import load

    family = loading.load(Path(instructions.family_folder))
    model, _ = load(instructions, family)
    hosts = family.hosts(model)

    def why_not(variant: Variant) -> str | None:
        try:
            check_needs(variant)
            apply(variant, hosts, instructions.backend, Path(instructions.kernels)).undo()
        except Unavailable as reason:
            return str(reason)
        return None

    return {
        "sites": grouped(_tried(family, model, hosts)),
        "variants": {variant.name: why_not(variant) for variant in variants},
    }


def _tried(family: Any, model: Any, hosts: Sequence[Any]) -> Iterable[tuple[str, Any, str | None]]:
    """Return path and host of what has sites, and of what only seems to, with the reason, where the family tells."""
    if hasattr(family, "tried"):
        found: Iterable[tuple[str, Any, str | None]] = family.tried(model)
        return found
    paths = {id(module): path for path, module in model.named_modules()}
    return [(paths[id(host.module)], host, None) for host in hosts]


def grouped(tried: Iterable[tuple[str, Any, str | None]]) -> list[dict[str, Any]]:
    """Return one entry for the modules of one class, sites and sizes, in the order of the model."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path, host, why_not in tried:
        sites = [step.site for step in host.block.steps if step.site]
        entry = {"sites": sites, "module": type(host.module).__name__, "sizes": sizes(host.module), "why_not": why_not}
        key = (tuple(sites), *(entry[name] for name in ("module", "sizes", "why_not")))
        found.setdefault(key, {**entry, "first": path, "modules": 0})["modules"] += 1
    return list(found.values())


def sizes(module: Any) -> str:
    """Return the sizes of a module's quantised weights and how they are packed, in words."""
    held = [(name, part) for name, part in module.named_modules() if "scales" in part]
    return "; ".join(dict.fromkeys(f"{name.rpartition('.')[2]} {_packed(part)}".strip() for name, part in held))


def _packed(part: Any) -> str:
    *lead, rows, _ = part.weight.shape
    shape = " x ".join(map(str, (*lead, rows, part.scales.shape[-1] * part.group_size)))
    bias = ", bias" if "bias" in part else ""
    return f"{shape}, {part.bits} bit {part.mode} in {part.group_size}s{bias}"


if __name__ == "__main__":
    sys.exit(main())
