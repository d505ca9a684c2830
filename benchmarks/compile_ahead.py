"""What does a process gain whose variants' CUDA kernels were compiled ahead, and does it compute the same?

    python benchmarks/compile_ahead.py [--layers 2] [--tokens 24] [FAMILY=VARIANT,VARIANT ...]

For each family a first process leaves what MLX compiles of its own, which takes longest by far where there is nothing
yet, and another compiles the variants' kernels. Then one takes all of it as it was kept, and another all but the
variants' kernels, as every process had it before. Each applies the variants of a synthetic checkpoint one after the
other and answers a prompt. Printed are, by variant, the seconds until the answer is there, a digest of the bits of all
logits on the way, and whether the process has compiled anything until then: whether NVRTC has loaded the part of itself
that it loads as it compiles.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured import messages
from zmlx_bench.measured.messages import Instructions, Prompt
from zmlx_bench.process import told_path
from zmlx_bench.schema.plan import Timeouts
from zmlx_bench.session.ahead import compile_ahead, gpu
from zmlx_bench.session.compiled import Compiled
from zmlx_bench.session.environment import child_environment
from zmlx_bench.workspace import find

ASKED = ("qwen3=qwen_fused,qwen_fused_gate,qwen_step", "glm47=glm_fused,glm_fused_gate")
IDS = tuple(range(100, 137))
VARIABLES = {"ZMLX_TRACE": "1", "MLX_CUDA_USE_CUDNN_SDPA": "0"}
CUSTOM = "custom_kernel_"
COMPILES = "libnvrtc-builtins"


def told(family: str, names: list[str], layers: int, tokens: int) -> list[Instructions]:
    """Return what the processes are told, one for each variant."""
    workspace = find(None)
    catalog = Catalog(workspace, family)
    stock = Instructions(
        family_folder=told_path(families.folder(family, workspace)),
        checkpoint_kind="synthetic",
        path="",
        seed=0,
        layers=layers,
        backend="cuda",
        variant=None,
        kernels=told_path(workspace.kernels),
        tokens=tokens,
        prompts=(Prompt("numbers", IDS),),
        margins=False,
    )
    return [dataclasses.replace(stock, variant=catalog.plain(catalog.resolve(name))) for name in names]


def answered(jobs: list[Instructions]) -> Iterator[dict[str, Any]]:
    """Apply each variant, answer, and yield what is printed of it; in a process of its own."""
    from zmlx_bench.measured.worker import device

    device.take("cuda")
    import mlx.core as mx
    import numpy as np

    from zmlx_bench.measured.apply import apply
    from zmlx_bench.measured.families import loading
    from zmlx_bench.measured.worker.generate import streamer
    from zmlx_bench.measured.worker.load import load

    family = loading.load(Path(jobs[0].family_folder))
    model, _ = load(jobs[0], family)
    for job in jobs:
        if job.variant is None:
            continue
        began = time.perf_counter()
        patch = apply(job.variant, family.hosts(model), job.backend, Path(job.kernels))
        bits = hashlib.sha256()
        for token, logits in streamer(model)(list(IDS), job.tokens):
            bits.update(b"%d" % token + np.array(logits.astype(mx.float32)).tobytes())
        seconds = time.perf_counter() - began
        patch.undo()
        compiled = COMPILES in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        yield {"variant": job.variant.name, "s": round(seconds, 2), "bits": bits.hexdigest()[:16], "compiled": compiled}


def child() -> None:
    """Be one of the processes."""
    jobs = [messages.instructions(line) for line in sys.stdin.buffer.read().splitlines()]
    for line in answered(jobs):
        print(json.dumps(line), flush=True)


def process(jobs: list[Instructions], folder: Path, limit_s: float) -> dict[str, Any]:
    """Run a process whose temporary folder is `folder`; return what it printed and its seconds."""
    began = time.perf_counter()
    lines = b"\n".join(each.encoded() for each in jobs)
    env = {**child_environment(), **VARIABLES, "TMPDIR": str(folder)}
    command = [sys.executable, __file__, "--child"]
    try:
        done = subprocess.run(command, input=lines, capture_output=True, env=env, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired as late:
        return {"failed": f"not ended after {limit_s:g} s: {(late.stdout or b'').decode('utf-8', 'replace')[-2000:]}"}
    if done.returncode != 0:
        return {"failed": done.stderr.decode("utf-8", "replace")[-3000:]}
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{"variant"')]
    return {"s": round(time.perf_counter() - began, 2), "variants": found}


def compare(family: str, names: list[str], asked: argparse.Namespace) -> None:
    """Compile ahead, run both processes, and print what each says as it ends."""

    def say(**known: Any) -> None:
        print(json.dumps({"family": family, **known}), flush=True)

    jobs = told(family, names, asked.layers, asked.tokens)
    marks = {each.variant.name: each for each in jobs if each.variant is not None}
    limits = Timeouts(load_s=asked.limit_s, prefill_s=asked.limit_s, decode_s=asked.limit_s)
    with tempfile.TemporaryDirectory() as name, Compiled(Path(name) / "store") as compiled:
        # What MLX compiles of its own takes minutes; it is here already, or is made by a first process.
        say(first=process([dataclasses.replace(each, tokens=4) for each in jobs[:1]], compiled.folder, asked.limit_s))
        compiled.ended(well=True)
        log = Path(name) / "ahead.log"
        env = {**child_environment(), **VARIABLES, **compiled.environment}
        seconds = compile_ahead(marks, sys.executable, env, compiled, log, limits, lambda: None)
        modules = len(list(compiled.folder.rglob(f"{CUSTOM}*.ptx")))
        held = {name: compiled.holds(name) for name in marks}
        printed = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        say(ahead_s=round(seconds or 0.0, 2), modules=modules, compiled=held, printed=printed)
        with Compiled(Path(name) / "store") as again:
            nothing = compile_ahead(marks, sys.executable, env, again, log, limits, lambda: None)
            say(again_s=nothing)
            found = [process(jobs, again.folder, asked.limit_s)]
            say(with_it=found[0])
            for path in again.folder.rglob(f"{CUSTOM}*"):
                path.unlink()
            found.append(process(jobs, again.folder, asked.limit_s))
            say(without=found[1])
    both = [[each["bits"] for each in way.get("variants", [])] for way in found]
    say(the_same_bits=both[0] == both[1] and len(both[0]) == len(names))


def main() -> None:
    """Print a JSON object for each step of each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("asked", nargs="*", default=ASKED, metavar="FAMILY=VARIANT,VARIANT")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--limit-s", type=float, default=240.0, help="of each process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return child()
    print(json.dumps({"compilers": gpu("cuda"), "processors": os.cpu_count()}), flush=True)
    for each in asked.asked:
        family, _, names = each.partition("=")
        compare(family, names.split(","), asked)
    return None


if __name__ == "__main__":
    main()
