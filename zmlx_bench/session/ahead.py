"""Has the CUDA kernels of variants compiled in a process of its own, once for all processes that measure them.

What fails there costs only time: a process compiles for itself what it does not find.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zmlx_bench import files
from zmlx_bench.machine import nvidia
from zmlx_bench.machine.backend import installed
from zmlx_bench.measured.messages import Instructions, Prompt
from zmlx_bench.process import Child
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.plan import Arm, Checkpoint, Conditions, Job, Plan, Timeouts
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session.compiled import Compiled

MODULE = "zmlx_bench.measured.ahead"
_OWN_PLACE = "MLX_PTX_CACHE_DIR"
"""Where it is set, MLX looks for compiled kernels elsewhere."""
_COMPILERS = ("nvidia-cuda-nvrtc", "nvidia-cuda-runtime")
_GRACE_S = 0.5
MOST_S = 120.0
"""Seconds that a process may take in all: longer than it saves, it is ended."""
REFUSED = "ZMLX_COMPILE_AHEAD"
"""The variable that refuses it by being 0."""


def wanted() -> bool:
    """Whether kernels are to be compiled ahead."""
    return os.environ.get(REFUSED) != "0"


def answers_alike(conditions: Conditions) -> bool:
    """Whether kernels are called under these conditions with the shapes that they are called with under the default
    ones: a text in the cache changes none of them, more sequences or another cache do."""
    return (conditions.batch, conditions.kv_bits, conditions.max_kv_size) == (1, None, None)


def gpu(backend: Backend, versions: Sequence[str | None] | None = None) -> str | None:
    """Return what decides, beside MLX, what is compiled for the GPU here: its architecture and who compiles.

    `versions` are the compiler's, by default those installed here. None where it is not known, and on other backends.
    """
    if backend != "cuda":
        return None
    found = nvidia.query("compute_cap")
    compilers = [installed(name) for name in _COMPILERS] if versions is None else list(versions)
    if not found or not all(compilers):
        return None
    return "-".join(("cc", *found, *map(str, compilers)))


def mark(variant: ResolvedVariant, checkpoint: Checkpoint, lengths: Sequence[int]) -> str | None:
    """Return by what name it is known that a variant's kernels are compiled; None where it has none of its own.

    `lengths` are the prompts', tokens.
    """
    if not variant.kernels or variant.identity is None:
        return None
    where = [checkpoint.digest, checkpoint.layers, sorted(lengths)]
    known = [variant.identity.digest, sorted(variant.env.items()), *where]
    return hashlib.sha256(json.dumps(known).encode("ascii")).hexdigest()


class Ahead:
    """Which variants of a session are to be compiled before a job, each once."""

    def __init__(self, plan: Plan, told: Callable[[Job, Arm], Instructions]) -> None:
        """`told` returns what an arm's process is told for a job."""
        self._plan = plan
        self._told = told
        self._asked: set[str] = set()

    def due(self, job: Job) -> dict[str, Instructions]:
        """Return what a process is to be told, by marks: the variants of the arms whose processes are like the job's.

        Every prompt of the session is among the prompts, and the conditions are the default ones.
        """
        ran = self._plan.arm(job.arm).variant
        if ran is None or not answers_alike(self._plan.conditions):
            return {}
        prompts = tuple(Prompt(each.id, self._plan.token_ids(each.id)) for each in self._plan.prompts.prompt)
        found = {}
        for arm in self._plan.arms:
            if arm.variant is None or (arm.variant.environment, arm.variant.env) != (ran.environment, ran.env):
                continue
            name = mark(arm.variant, self._plan.checkpoint, [len(each.token_ids) for each in prompts])
            if name is not None and name not in self._asked:
                told = self._told(job, arm)
                found[name] = dataclasses.replace(told, prompts=prompts, prefixes=(), conditions=None, margins=False)
        self._asked.update(found)
        return found


def compile_ahead(
    told: Mapping[str, Instructions],
    python: str,
    env: Mapping[str, str],
    compiled: Compiled,
    log: Path,
    timeouts: Timeouts,
    begins: Callable[[], None],
) -> float | None:
    """Compile the kernels of instructions' variants, by their marks, where they are not; return the seconds it took.

    None where there was nothing to do; else `begins` is called first. The process has the environment `env` and prints
    into `log`; it is killed when it is silent for longer than a worker may be, or takes longer than `MOST_S`. What it
    has marked by then is kept.
    """
    missing = {name: each for name, each in told.items() if not compiled.holds(name)}
    if not missing or _OWN_PLACE in env:
        return None
    begins()
    began = time.perf_counter()
    with files.open_new(log) as output:
        child = Child([python, "-m", MODULE], _encoded(missing), output, env)
    well = False
    silent_s = timeouts.load_s
    try:
        while (came := child.read(min(silent_s, began + MOST_S - time.perf_counter()))) is not None and came[1]:
            silent_s = timeouts.prefill_s
            if time.perf_counter() - began > MOST_S:
                break
        well = came is None and child.process.wait(timeouts.decode_s) == 0
    except (ValueError, subprocess.TimeoutExpired):
        pass
    finally:
        child.kill(_GRACE_S)
        compiled.ended(well=well)
    return time.perf_counter() - began


def _encoded(told: Mapping[str, Instructions]) -> bytes:
    jobs: list[dict[str, Any]] = [json.loads(each.encoded()) for each in told.values()]
    marks = {each.variant.name: name for name, each in told.items() if each.variant is not None}
    return json.dumps({"instructions": jobs, "marks": marks}).encode("ascii")
