"""`python -m zmlx_bench.measured.worker`: reads its instructions as one JSON object on standard input."""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Literal

from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.worker.opened import Opened
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.schema import event
from zmlx_bench.schema.event import Done, Failed, Instructions, Patched, Warmed
from zmlx_bench.schema.variant import ResolvedVariant

WARM_UP_TOKENS = 16
_OOM_WORDS = (
    "out of memory", "outofmemory", "insufficient memory", "cannot allocate memory", "bad_alloc", "[malloc",
    "cudamalloc",
)  # fmt: skip


def main() -> int:
    """Do the job; 0 when every token was reported, 1 when the last event says why not."""
    opened = Opened()
    instructions = Instructions.model_validate_json(sys.stdin.read())
    pipe = Pipe(instructions.events_fd)
    pipe.leave_with_reader()
    # The supervisor resolved and checked the checkpoint: nothing is fetched from here.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        measure(instructions, pipe)
        files = opened.files(Path(instructions.kernels).parent, [Path(instructions.path)])
        pipe.send(event.Opened(files=tuple(files)))
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises is reported, not lost
        traceback.print_exc()
        pipe.send(Failed(status=_classify(error), message=f"{type(error).__name__}: {error}"))
        return 1
    return 0


def measure(instructions: Instructions, pipe: Pipe) -> None:
    """Load, patch, warm up, generate; or, where tokens are to be forced, audit."""
    import mlx.core as mx

    from zmlx_bench.measured.apply import Patch, apply
    from zmlx_bench.measured.families import registry
    from zmlx_bench.measured.worker import audit
    from zmlx_bench.measured.worker.generate import run_prompt, streamer
    from zmlx_bench.measured.worker.load import encode, load

    mx.set_default_device(mx.cpu if instructions.backend == "cpu" else mx.gpu)
    family = registry.load(instructions.family)
    model, tokenizer, loaded = load(instructions, family)
    pipe.send(loaded)
    variant = instructions.variant

    def patched(variant: ResolvedVariant) -> Patch:
        applied = apply(
            variant,
            family.hosts(model),
            instructions.backend,
            Path(instructions.kernels),
            dict(instructions.limits),
        )
        pipe.send(Patched.model_validate({"hosts": applied.hosts}))
        return applied

    if instructions.forced and variant is not None:
        forcings = [(p.id, encode(tokenizer, p), instructions.forced[p.id]) for p in instructions.prompts]
        audit.run(pipe, model, forcings, lambda: patched(variant))
        _done(pipe)
        return
    patch = None if variant is None else patched(variant)
    generate = streamer(model, tokenizer, detokenize=instructions.checkpoint_kind != "synthetic")
    prompts = [(prompt.id, encode(tokenizer, prompt)) for prompt in instructions.prompts]
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
    pipe.send(Warmed.model_validate({"warm_up_s": time.perf_counter() - start, "calls_per_token": calls}))

    for name, ids in prompts:
        run_prompt(pipe, generate, name, ids, instructions.tokens, margins=instructions.margins)

    _done(pipe)


def _done(pipe: Pipe) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pipe.send(
        Done(
            peak_rss_gb=_peak_rss_bytes() / 1e9,
            page_faults_minor=usage.ru_minflt,
            page_faults_major=usage.ru_majflt,
            cpu_s=usage.ru_utime + usage.ru_stime,
        )
    )


def _peak_rss_bytes() -> int:
    """Return the largest resident set of this process.

    Linux carries the parent's maximum through fork and exec into ru_maxrss, so that a small worker would report
    its supervisor; VmHWM belongs to this program alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _classify(error: Exception) -> Literal["crash", "oom", "unavailable"]:
    if isinstance(error, Unavailable):
        return "unavailable"
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OOM_WORDS):
        return "oom"
    return "crash"


if __name__ == "__main__":
    sys.exit(main())
