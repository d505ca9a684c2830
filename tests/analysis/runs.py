"""Raw runs with chosen numbers."""

from __future__ import annotations

from typing import Any

from zmlx_bench.schema.base import Role
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.schema.run import Generation, Run

OUTPUTS: dict[str, tuple[int, ...]] = {}


def generation(tokens: tuple[int, ...] = tuple(range(11)), prompt: str = "p", **changes: Any) -> Generation:
    digest = output_hash(tokens)
    OUTPUTS[digest] = tokens
    fields: dict[str, Any] = {
        "prompt": prompt, "prompt_tokens": 20, "output": digest, "tokens": len(tokens), "ttft_s": 0.5, "decode_s": 1.0,
        "supervisor_decode_s": 1.0, "token_us": (), "peak_mem_gb": 2.0, "active_before_gb": 1.5, "cache_gb": 0.25,
    }  # fmt: skip
    return Generation.model_validate(fields | changes)


def run(*generations: Generation, block: int | None = 1, role: Role = "variant", **changes: Any) -> Run:
    fields: dict[str, Any] = {"arm": role, "role": role, "job": 1, "block": block, "tokens": 11, "status": "ok"}
    return Run.model_validate(fields | {"generations": generations or (generation(),)} | changes)


def at_speed(speed: float, block: int, role: Role = "variant") -> Run:
    """A run that decodes its ten tokens after the first at `speed` tokens a second."""
    return run(generation(decode_s=10 / speed), block=block, role=role)


def failed(block: int = 1, role: Role = "variant") -> Run:
    return run(block=block, role=role, generations=(), status="crash", message="why")
