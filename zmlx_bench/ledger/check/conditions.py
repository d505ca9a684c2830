"""Whether every process of a capsule ran under the conditions that the capsule names."""

from __future__ import annotations

from collections.abc import Iterator

from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.ledger.check import places
from zmlx_bench.measured.conditions.asked import Asked, other_cache
from zmlx_bench.protocol.batch import members
from zmlx_bench.protocol.context import context_ids
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.prompts import ids_hash
from zmlx_bench.schema.run import Generation, Run


def check_conditions(capsule: Capsule, file: str) -> Iterator[Finding]:
    """Every process has the context that the recorded sentences give, the cache asked for, and batches of the prompts
    in their order, each with the token ids of the session; evidence from before this was told says nothing of it."""
    found = _Conditions(capsule, file)
    for place, run, *_ in places.every(capsule):
        if run.status == "ok":
            yield from found.check(run, place)


class _Conditions:
    def __init__(self, capsule: Capsule, file: str) -> None:
        self._asked, self._file = capsule.conditions, file
        self._prompts = [prompt.id for prompt in capsule.prompts.prompt]
        self._ids = capsule.encoded.token_ids if capsule.encoded is not None else {}
        pieces = capsule.encoded.context_pieces if capsule.encoded is not None else ()
        context = self._asked.context
        self._context = ids_hash(context_ids(pieces, context)) if context is not None and pieces else None

    def check(self, run: Run, place: str) -> Iterator[Finding]:
        if "caches" not in run.model_fields_set:
            return
        if (run.filled is None) != (self._asked.context is None):
            yield self._finding(f"{place}.filled", f"does not go with conditions.context {self._asked.context}")
        elif run.filled is not None and (run.filled.tokens, run.filled.sha256) != (self._asked.context, self._context):
            message = "is not of the context that encoded.context_pieces give"
            yield self._finding(f"{place}.filled.sha256", message)
        asked = Asked(self._asked.batch, self._asked.kv_bits, self._asked.max_kv_size)
        if not self._asked.default and (why := other_cache(run.caches, asked)) is not None:
            yield self._finding(f"{place}.caches", why)
        for index, generation in enumerate(run.generations):
            yield from self._batch(generation, f"{place}.generations[{index}]")

    def _batch(self, generation: Generation, place: str) -> Iterator[Finding]:
        if generation.prompt not in self._prompts:
            return  # said where runs are checked
        expected = members(self._prompts, generation.prompt, self._asked.batch)[1:]
        if tuple(each.prompt for each in generation.beside) != expected:
            names = ", ".join(expected) or "nothing"
            yield self._finding(f"{place}.beside", f"must be {names}, with conditions.batch {self._asked.batch}")
            return
        for index, each in enumerate(generation.beside):
            ids = self._ids.get(each.prompt, ())
            if (each.prompt_sha256, each.prompt_tokens) != (ids_hash(ids), len(ids)):
                message = f"is not of encoded.token_ids.{each.prompt}"
                yield self._finding(f"{place}.beside[{index}].prompt_sha256", message)

    def _finding(self, field: str, message: str) -> Finding:
        return finding(self._file, field, message)
