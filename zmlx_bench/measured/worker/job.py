"""One job, on MLX's default device: load, patch, warm up, generate; or, where tokens are to be forced, audit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from zmlx_bench.measured.apply import Patch, apply
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.messages import Instructions, Patched, Prompts, Warmed, digest
from zmlx_bench.measured.primitives import check_needs
from zmlx_bench.measured.variant import Variant
from zmlx_bench.measured.worker.generate import Stream, run_prompt, streamer
from zmlx_bench.measured.worker.load import load
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.measured.worker.usage import Usage

COUNTED = 4
"""Decode steps in which the calls of the kernels are counted."""
UNCOUNTED = 16
"""Decode steps after them that are made as they are measured: benchmarks/warm_up.py shows what is left then."""


def measure(instructions: Instructions, pipe: Pipe) -> None:
    """Do what the instructions say and report it. Raises Unavailable where the variant cannot be applied."""
    family = loading.load(Path(instructions.family_folder))
    variant = instructions.variant
    usage = Usage()
    model, loaded = load(instructions, family)
    pipe.send(loaded)
    prompts = [(prompt.id, list(prompt.token_ids)) for prompt in instructions.prompts]

    def patched(variant: Variant) -> Patch:
        check_needs(variant)
        applied = apply(variant, family.hosts(model), instructions.backend, Path(instructions.kernels))
        pipe.send(Patched(applied.hosts))
        return applied

    if instructions.forced and variant is not None:
        from zmlx_bench.measured.worker import audit

        forcings = [(name, ids, instructions.forced[name]) for name, ids in prompts]
        pipe.send(_told(prompts))
        audit.run(pipe, model, forcings, lambda: patched(variant))
        pipe.send(usage.done())
        return
    if instructions.conditions is not None:
        from zmlx_bench.measured.conditions import run

        run.measure(instructions, instructions.conditions, model, pipe, usage, patched)
        return
    patch = None if variant is None else patched(variant)
    generate = streamer(model)
    pipe.send(_told(prompts))
    start = time.perf_counter()
    calls = warm_up(generate, prompts[0][1], patch)
    pipe.send(Warmed(warm_up_s=time.perf_counter() - start, calls_per_token=calls))

    for name, ids in prompts:
        run_prompt(
            pipe,
            usage,
            generate,
            name,
            ids,
            instructions.tokens,
            prefixes=instructions.prefixes,
            margins=instructions.margins,
        )

    pipe.send(usage.done())


def warm_up(generate: Stream, prompt: list[int], patch: Patch | None, uncounted: int = UNCOUNTED) -> dict[str, float]:
    """Answer the prompt until nothing is new, and return how often each replaced site is called for a token.

    It is prefilled once, as a timed prompt is. What counts goes away on the way, between two tokens: a variant may
    trace its decode steps at the first one that is not counted. Raises Unavailable where a kernel is never called.
    """
    calls: dict[str, float] = {}
    before: dict[str, int] = {}
    if patch is not None:
        patch.install(count=True)
    for index, _ in enumerate(generate(prompt, COUNTED + uncounted)):
        if patch is None:
            continue
        if index == 0:
            before = dict(patch.calls)
        elif index == COUNTED:
            # mlx-lm builds one token ahead: between two tokens that it yields lie as many graphs as tokens.
            calls = {site: (patch.calls[site] - before.get(site, 0)) / COUNTED for site in patch.hosts}
            if idle := [site for site, count in calls.items() if count == 0]:
                raise Unavailable(f"the kernel at {', '.join(idle)} was never called while decoding")
            patch.install(count=False)
    return calls


def _told(prompts: Sequence[tuple[str, Sequence[int]]]) -> Prompts:
    return Prompts({name: digest(ids) for name, ids in prompts})
