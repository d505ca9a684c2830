"""One job, on MLX's default device: load, patch, warm up, generate; or, where tokens are to be forced, audit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from zmlx_bench.measured.apply import Patch, apply
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.messages import Instructions, Patched, Prompts, Warmed, digest
from zmlx_bench.measured.variant import Variant
from zmlx_bench.measured.worker.generate import run_prompt, streamer
from zmlx_bench.measured.worker.load import load
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.measured.worker.usage import Usage

WARM_UP_TOKENS = 16


def measure(instructions: Instructions, pipe: Pipe) -> None:
    """Do what the instructions say and report it. Raises Unavailable where the variant cannot be applied."""
    family = loading.load(Path(instructions.family_folder))
    variant = instructions.variant
    usage = Usage()
    model, loaded = load(instructions, family)
    pipe.send(loaded)
    prompts = [(prompt.id, list(prompt.token_ids)) for prompt in instructions.prompts]

    def patched(variant: Variant) -> Patch:
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
    patch = None if variant is None else patched(variant)
    generate = streamer(model)
    pipe.send(_told(prompts))
    start = time.perf_counter()
    calls: dict[str, float] = {}
    if patch is not None:
        patch.install(count=True)
    before_decode: dict[str, int] = {}
    for index, _ in enumerate(generate(prompts[0][1], WARM_UP_TOKENS)):
        if patch is not None and index == 0:
            before_decode = dict(patch.calls)
    if patch is not None:
        # mlx-lm builds one token ahead: between the first token it yields and the last lie this many graphs.
        steps = WARM_UP_TOKENS - 1
        calls = {site: (patch.calls[site] - before_decode.get(site, 0)) / steps for site in patch.hosts}
        if idle := [site for site, count in calls.items() if count == 0]:
            raise Unavailable(f"the kernel at {', '.join(idle)} was never called while decoding")
        patch.install(count=False)
    # Once more as it is measured: nothing is counted now, and a variant may trace its decode steps at the first one.
    for _ in generate(prompts[0][1], WARM_UP_TOKENS):
        pass
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


def _told(prompts: Sequence[tuple[str, Sequence[int]]]) -> Prompts:
    return Prompts({name: digest(ids) for name, ids in prompts})
