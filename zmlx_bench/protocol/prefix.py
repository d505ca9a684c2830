"""A shorter budget is the prefix of a longer one of the same process: how it is cut, and what must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.schema.run import Depth, Generation, Run

Plain = str | int | float | None
_MEASURED = {
    "tokens",
    "of_tokens",
    "generations",
    "energy_j",
    "peak_rss_gb",
    "peak_footprint_gb",
    "page_faults_minor",
    "page_faults_major",
}
"""Of a run: what the prefix has of its own."""
_SHARED = ("prompt", "prompt_tokens", "prompt_sha256", "ttft_s", "active_before_gb")
"""Of a generation: what the prefix has from the whole as it is."""


@dataclass(frozen=True)
class Taken:
    """What a process had used when the last token of a prefix was out, and by the clocks until then."""

    decode_s: float
    supervisor_decode_s: float
    peak_mem_gb: float
    cache_gb: float
    peak_rss_gb: float
    page_faults_minor: int
    page_faults_major: int
    energy_j: float | None
    peak_footprint_gb: float | None = None


def cut(whole: Run, tokens: int, ids: Sequence[int], taken: Taken, beside: Sequence[Sequence[int]] = ()) -> Run:
    """Return the run of the first `tokens` tokens of a timed process.

    `ids` are the token ids of the whole, `beside` those of the sequences decoded in the same steps.
    """
    (generation,) = whole.generations
    own = {
        "output": output_hash(list(ids[:tokens])),
        "tokens": tokens,
        "token_us": generation.token_us[: tokens - 1],
        "decode_s": taken.decode_s,
        "supervisor_decode_s": taken.supervisor_decode_s,
        "peak_mem_gb": taken.peak_mem_gb,
        "cache_gb": taken.cache_gb,
        "beside": tuple(
            each.model_copy(update={"output": output_hash(list(theirs[:tokens]))})
            for each, theirs in zip(generation.beside, beside, strict=True)
        ),
        "depths": _until(generation, tokens),
    }
    return whole.model_copy(
        update={
            "tokens": tokens,
            "of_tokens": whole.tokens,
            "generations": (generation.model_copy(update=own),),
            "energy_j": taken.energy_j,
            "peak_rss_gb": taken.peak_rss_gb,
            "peak_footprint_gb": taken.peak_footprint_gb,
            "page_faults_minor": taken.page_faults_minor,
            "page_faults_major": taken.page_faults_major,
        }
    )


def _until(generation: Generation, tokens: int) -> tuple[Depth, ...]:
    """Return the depths that were reached within the first `tokens` tokens; the last one is no prefix's."""
    last = generation.depths[-1].length - generation.tokens + tokens if generation.depths else 0
    return tuple(depth for depth in generation.depths if depth.length <= last)


def cut_failed(whole: Run, tokens: int) -> Run:
    """Return the run of a shorter budget of a process that failed: it failed for every budget that it serves."""
    return whole.model_copy(update={"tokens": tokens, "of_tokens": whole.tokens})


def facts(run: Run, outputs: Mapping[str, Sequence[int]], tokens: int) -> dict[str, Plain]:
    """Return, by field, what a run says of its first `tokens` tokens, of lists the hash: alike in a prefix and its
    whole."""
    found: dict[str, Any] = run.model_dump(mode="json", exclude=_MEASURED)
    for index, generation in enumerate(run.generations):
        place = f"generations[{index}]"
        found |= {f"{place}.{name}": getattr(generation, name) for name in _SHARED}
        found[f"{place}.output"] = list(outputs.get(generation.output, ()))[:tokens]
        found[f"{place}.token_us"] = list(generation.token_us[: tokens - 1])
        found[f"{place}.beside"] = [
            [each.prompt, each.prompt_tokens, each.prompt_sha256, list(outputs.get(each.output, ()))[:tokens]]
            for each in generation.beside
        ]
    return {name: content_hash(value) if isinstance(value, list | dict) else value for name, value in found.items()}
