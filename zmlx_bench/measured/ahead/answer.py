"""Lets variants answer prompts, so that their kernels are called with the shapes and types that jobs call them with."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from zmlx_bench.measured.ahead.compiler import Compiler, architecture
from zmlx_bench.measured.ahead.texts import Texts
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.families import loading
from zmlx_bench.measured.messages import Instructions
from zmlx_bench.measured.primitives import check_needs
from zmlx_bench.measured.variant import Variant
from zmlx_bench.measured.worker.load import load

_CHUNK = 2048
"""Tokens that mlx-lm prefills at once."""
_DECODED = 3
"""A variant may do its first decode step in another way than those after it."""


def compiled(jobs: Sequence[Instructions], alive: Callable[[], None]) -> Iterator[tuple[str, list[Path] | None]]:
    """Compile the kernels of each job's variant, of one model all, and yield its name and the files of its kernels.

    None where it fails. `alive` is called when the model is loaded and after each step.
    """
    family = loading.load(Path(jobs[0].family_folder))
    model, loaded = load(jobs[0], family)
    info = mx.device_info(mx.default_device())
    major, minor = (int(info[f"compute_capability_{part}"]) for part in ("major", "minor"))
    alive()
    compiler = Compiler(loaded.mlx, architecture(major, minor))
    with Texts() as texts:
        for job in jobs:
            if job.variant is None:
                continue
            files: list[Path] = []
            try:
                for _ in _steps(model, family.hosts(model), job, job.variant):
                    files += compiler.compile(texts.new(), alive)
                    alive()
            except Exception:  # noqa: BLE001 - whatever a kernel raises, the job says
                traceback.print_exc()
                yield job.variant.name, None
            else:
                yield job.variant.name, files


def _steps(model: Any, hosts: Sequence[Any], told: Instructions, variant: Variant) -> Iterator[None]:
    """Apply the variant, answer each prompt of another length with a few tokens, and take the variant out again.

    Stops where a step has been put together and nothing of it has been evaluated.
    """
    check_needs(variant)
    patch = apply(variant, hosts, told.backend, Path(told.kernels))
    try:
        for ids in {len(prompt.token_ids): prompt.token_ids for prompt in told.prompts}.values():
            cache = make_prompt_cache(model)
            prefilled = [ids[i : min(i + _CHUNK, len(ids) - 1)] for i in range(0, len(ids) - 1, _CHUNK)]
            for part in (*prefilled, *([ids[-1:]] * _DECODED)):
                logits = model(mx.array([part]), cache=cache)
                yield
                mx.eval(logits, [each.state for each in cache])
    finally:
        patch.undo()
