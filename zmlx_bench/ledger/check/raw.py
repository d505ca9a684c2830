"""Whether a capsule's raw records fit together: outputs, budgets, blocks, order, clocks."""

from __future__ import annotations

from collections.abc import Iterator

from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.ledger.check import places
from zmlx_bench.schema.capsule import Capsule, output_hash
from zmlx_bench.schema.prompts import ids_hash
from zmlx_bench.schema.run import Generation

ROUNDING_S = 1e-6
"""Each latency is rounded to a microsecond."""


def check_outputs(capsule: Capsule, file: str) -> Iterator[Finding]:
    """Every output is stored under its hash, and is named by a run; every run's output is there."""
    for name, tokens in capsule.outputs.items():
        if output_hash(tokens) != name:
            yield finding(file, f"outputs.{name[:12]}", "the tokens are not those of their hash: edited")
    named: set[str] = set()
    for place, run, *_ in places.every(capsule):
        for index, generation in enumerate(run.generations):
            field = f"{place}.generations[{index}]"
            beside = ((f"{field}.beside[{at}]", each.output) for at, each in enumerate(generation.beside))
            for where, output in ((field, generation.output), *beside):
                named.add(output)
                tokens = capsule.outputs.get(output, ())
                if not tokens:
                    yield finding(file, f"{where}.output", f"names tokens that are not in outputs: {output[:12]}")
                elif len(tokens) != generation.tokens:
                    yield finding(file, f"{field}.tokens", f"says {generation.tokens}, {where} has {len(tokens)}")
    for name in capsule.outputs:
        if name not in named:
            yield finding(file, f"outputs.{name[:12]}", "named by no run")


def check_prompts(capsule: Capsule, file: str) -> Iterator[Finding]:
    """Every process prefilled the token ids that the session made of the prompts; old evidence does not tell them."""
    ids = capsule.encoded.token_ids if capsule.encoded is not None else {}
    if capsule.encoded is not None and capsule.chat_template != capsule.encoded.chat_template:
        yield finding(file, "chat_template", "is not what encoded.chat_template says")
    expected = {prompt: ids_hash(one) for prompt, one in ids.items()}
    for place, run, *_ in places.every(capsule):
        for index, generation in enumerate(run.generations):
            field = f"{place}.generations[{index}]"
            if generation.prompt_sha256 != expected.get(generation.prompt):
                yield finding(file, f"{field}.prompt_sha256", f"is not of encoded.token_ids.{generation.prompt}")
            elif generation.prompt in ids and generation.prompt_tokens != (count := len(ids[generation.prompt])):
                message = f"says {generation.prompt_tokens}, encoded.token_ids.{generation.prompt} has {count}"
                yield finding(file, f"{field}.prompt_tokens", message)
    for index, audited in enumerate(capsule.audit.prompts if capsule.audit is not None else ()):
        if audited.prompt_sha256 != expected.get(audited.prompt):
            field = f"audit.prompts[{index}].prompt_sha256"
            yield finding(file, field, f"is not of encoded.token_ids.{audited.prompt}")


def check_runs(capsule: Capsule, file: str) -> Iterator[Finding]:
    """Every run belongs to its arm, budget, block and place in the order."""
    prompts = {prompt.id for prompt in capsule.prompts.prompt}
    lengths: dict[str, int] = {}
    for place, run, role, timed in places.every(capsule):
        # The incumbent's own capsule holds its runs as the variant's.
        if run.role != role and not (role == "variant" and run.role == "incumbent"):
            yield finding(file, f"{place}.role", f"says {run.role} among the {role} runs")
        if timed and run.tokens != capsule.tokens:
            yield finding(file, f"{place}.tokens", f"says {run.tokens}, the capsule's budget is {capsule.tokens}")
        if run.of_tokens is not None and not (timed and run.of_tokens > run.tokens):
            yield finding(file, f"{place}.of_tokens", f"says {run.of_tokens} of a {'' if timed else 'un'}timed run")
        if not timed and run.block is not None:
            yield finding(file, f"{place}.block", "an untimed run has no block")
        for index, generation in enumerate(run.generations):
            field = f"{place}.generations[{index}]"
            if generation.prompt not in prompts:
                yield finding(file, f"{field}.prompt", f"{generation.prompt} is no prompt of this capsule")
            length = lengths.setdefault(generation.prompt, generation.prompt_tokens)
            if generation.prompt_tokens != length:
                yield finding(file, f"{field}.prompt_tokens", f"says {generation.prompt_tokens}, another run {length}")
            if generation.tokens > run.tokens:
                yield finding(file, f"{field}.tokens", f"{generation.tokens} tokens of a budget of {run.tokens}")
            if timed:
                yield from _check_timed(capsule, generation, file, field)


def _check_timed(capsule: Capsule, generation: Generation, file: str, field: str) -> Iterator[Finding]:
    if generation.prompt != capsule.timed_prompt:
        yield finding(file, f"{field}.prompt", f"timed {generation.prompt} instead of {capsule.timed_prompt}")
    steps = generation.tokens - 1
    if len(generation.token_us) != steps:
        yield finding(file, f"{field}.token_us", f"{len(generation.token_us)} latencies of {steps} steps")
    elif abs(sum(generation.token_us) * 1e-6 - generation.decode_s) > (steps + 1) * ROUNDING_S:
        yield finding(
            file,
            f"{field}.decode_s",
            f"says {generation.decode_s:.6f} s, its latencies add up to {sum(generation.token_us) * 1e-6:.6f} s",
        )


def check_blocks(capsule: Capsule, file: str) -> Iterator[Finding]:
    """The timed runs of each arm are the blocks of the protocol, each at its place in the order."""
    protocol = capsule.protocol
    if len(protocol.order) != protocol.blocks:
        yield finding(file, "protocol.order", f"{len(protocol.order)} blocks of {protocol.blocks}")
    if capsule.runs.null and not protocol.null_arm:
        yield finding(
            file, "protocol.null_arm", f"says {protocol.null_arm}, there are {len(capsule.runs.null)} null runs"
        )
    seen: set[tuple[str, int]] = set()
    for place, run, *_ in places.timed(capsule):
        block = run.block
        if block is None or not 1 <= block <= len(protocol.order):
            yield finding(file, f"{place}.block", f"says {block}, the order has {len(protocol.order)} blocks")
            continue
        if (run.arm, block) in seen:
            yield finding(file, f"{place}.block", f"arm {run.arm} stands twice in block {block}")
        seen.add((run.arm, block))
        order = protocol.order[block - 1]
        if run.arm not in order:
            yield finding(file, f"{place}.arm", f"{run.arm} is not in the order of block {block}")
        elif run.position is not None and order.index(run.arm) + 1 != run.position:
            place_in_order = order.index(run.arm) + 1
            yield finding(
                file, f"{place}.position", f"says {run.position}, the order of block {block} {place_in_order}"
            )
