"""What does a process gain whose variants' CUDA kernels were compiled ahead, and does it compute the same?

    python benchmarks/compile_ahead.py [--layers 2] [--tokens 24] [FAMILY=VARIANT,VARIANT ...]

For each family a process compiles the variants' kernels; then one process takes them as they were kept, and another
has all that MLX keeps by itself but none of them, as every process had before. Each applies the variants of a synthetic
checkpoint one after the other and answers a prompt. Printed are, by variant, the seconds until the answer is there, a
digest of the bits of all logits on the way, and whether the process has compiled anything until then: whether NVRTC
has loaded the part of itself that it loads as it compiles. The families run at once.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured import messages
from zmlx_bench.measured.messages import Instructions, Prompt
from zmlx_bench.process import told_path
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


def process(jobs: list[Instructions], folder: Path) -> dict[str, Any]:
    """Run a process whose temporary folder is `folder`; return what it printed and its seconds."""
    began = time.perf_counter()
    lines = b"\n".join(each.encoded() for each in jobs)
    env = {**child_environment(), **VARIABLES, "TMPDIR": str(folder)}
    done = subprocess.run([sys.executable, __file__, "--child"], input=lines, capture_output=True, env=env, check=False)
    if done.returncode != 0:
        return {"failed": done.stderr.decode("utf-8", "replace")[-3000:]}
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{"variant"')]
    return {"s": round(time.perf_counter() - began, 2), "variants": found}


def compare(family: str, names: list[str], layers: int, tokens: int) -> dict[str, Any]:
    """Compile ahead, run both processes, and return what they say."""
    jobs = told(family, names, layers, tokens)
    marks = {each.variant.name: each for each in jobs if each.variant is not None}
    with tempfile.TemporaryDirectory() as name, Compiled(Path(name) / "store") as compiled:
        log = Path(name) / "ahead.log"
        env = {**child_environment(), **VARIABLES, **compiled.environment}
        seconds = compile_ahead(marks, sys.executable, env, compiled, log, 300.0, lambda: None)
        found: dict[str, Any] = {
            "family": family,
            "compile ahead, s": round(seconds or 0.0, 2),
            "compiled": {name: compiled.holds(name) for name in marks},
            "modules": len(list(compiled.folder.rglob(f"{CUSTOM}*.ptx"))),
            "printed": log.read_text(encoding="utf-8", errors="replace")[-2000:],
        }
        with Compiled(Path(name) / "store") as again:
            found["again, s"] = compile_ahead(marks, sys.executable, env, again, log, 300.0, lambda: None)
            found["with"] = process(jobs, again.folder)
            for path in again.folder.rglob(f"{CUSTOM}*"):
                path.unlink()
            found["without"] = process(jobs, again.folder)
    both = [[each["bits"] for each in found[way].get("variants", [])] for way in ("with", "without")]
    found["the same bits"] = both[0] == both[1] and len(both[0]) == len(names)
    return found


def main() -> None:
    """Print a JSON object for each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("asked", nargs="*", default=ASKED, metavar="FAMILY=VARIANT,VARIANT")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return child()
    print(json.dumps({"compilers": gpu("cuda"), "processors": os.cpu_count()}))
    pairs = [each.partition("=") for each in asked.asked]
    with ThreadPoolExecutor() as pool:
        for found in pool.map(lambda p: compare(p[0], p[2].split(","), asked.layers, asked.tokens), pairs):
            print(json.dumps(found, indent=1), flush=True)
    return None


if __name__ == "__main__":
    main()
