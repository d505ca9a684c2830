"""Turns the event log of finished jobs into raw run records and the outputs that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from zmlx_bench.errors import UnusableInput
from zmlx_bench.protocol.batch import members
from zmlx_bench.protocol.prefix import Taken, cut, cut_failed
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.schema.event import (
    Caches,
    Deepened,
    Done,
    FilledEvent,
    JobEvent,
    Loaded,
    Patched,
    Prefix,
    PromptEnd,
    Prompts,
    PromptStart,
    Token,
    Warmed,
)
from zmlx_bench.schema.plan import Job, Plan
from zmlx_bench.schema.run import Beside, Filled, Generation, Run
from zmlx_bench.session.log import JobLog

Outputs = dict[str, tuple[int, ...]]


def runs_of(plan: Plan, logs: Iterable[tuple[int, JobLog]]) -> tuple[list[Run], Outputs]:
    """Return every finished job's run at each budget that it serves, in the order of the plan, and the generated
    tokens by hash."""
    runs: list[Run] = []
    outputs: Outputs = {}
    for number, log in logs:
        if number >= len(plan.jobs):
            raise UnusableInput(f"events.jsonl: job {number} is not in the session's plan")
        job = plan.jobs[number]
        if job.kind == "audit":
            continue
        whole = _run(plan, job, log, outputs)
        runs += [*_prefixes(job, log, whole, outputs), whole]
    runs.sort(key=lambda run: (run.job, run.tokens))
    return runs, outputs


def prefilled(log: JobLog) -> dict[str, str]:
    """Return what a job's process told of the token ids that it prefilled as each prompt."""
    return next((line.event.sha256 for line in log.events if isinstance(line.event, Prompts)), {})


def _run(plan: Plan, job: Job, log: JobLog, outputs: Outputs) -> Run:
    end = log.end
    if end is None:
        raise ValueError(f"job {job.id} has not ended")
    generations = _generations(plan, log, outputs, timed=job.kind != "fidelity") if end.status == "ok" else []
    events = [line.event for line in log.events]
    loaded = next((e for e in events if isinstance(e, Loaded)), None)
    warmed = next((e for e in events if isinstance(e, Warmed)), None)
    patched = next((e for e in events if isinstance(e, Patched)), None)
    done = next((e for e in events if isinstance(e, Done)), None)
    filled = next((e for e in events if isinstance(e, FilledEvent)), None)
    caches = next((e.caches for e in events if isinstance(e, Caches)), ())
    return Run(
        arm=job.arm,
        role=plan.arm(job.arm).role,
        job=job.id,
        block=job.block,
        position=job.position,
        tokens=job.tokens,
        status=end.status,
        message=end.message,
        exit_code=end.exit_code,
        load_s=loaded.load_s if loaded else None,
        warm_up_s=warmed.warm_up_s if warmed else None,
        generations=tuple(generations),
        calls_per_token=warmed.calls_per_token if warmed and patched else {},
        filled=None if filled is None else Filled.model_validate(filled.model_dump(exclude={"event"})),
        caches=caches,
        peak_rss_gb=done.peak_rss_gb if done else None,
        peak_footprint_gb=done.peak_footprint_gb if done else None,
        energy_j=end.energy_j if end.status == "ok" else None,
        page_faults_minor=done.page_faults_minor if done else None,
        page_faults_major=done.page_faults_major if done else None,
        waited_s=log.start.waited_s,
        before=log.start.before,
        after=end.after,
    )


def _prefixes(job: Job, log: JobLog, whole: Run, outputs: Outputs) -> Iterator[Run]:
    if whole.status != "ok" or log.end is None:
        yield from (cut_failed(whole, tokens) for tokens in job.prefixes)
        return
    lines = [line for line in log.events if isinstance(line.event, Token)]
    times = [line.event.t_ns for line in lines if isinstance(line.event, Token)]
    (generation,) = whole.generations if job.prefixes else (None,)
    names = () if generation is None else (generation.output, *(each.output for each in generation.beside))
    ids, *beside = [outputs[name] for name in names] or [()]
    for line in log.events:
        mark = line.event
        if isinstance(mark, Prefix):
            for each in (ids, *beside):
                outputs[output_hash(each[: mark.tokens])] = each[: mark.tokens]
            taken = Taken(
                decode_s=(times[mark.tokens - 1] - times[0]) / 1e9,
                supervisor_decode_s=max(0.0, lines[mark.tokens - 1].at - lines[0].at),
                peak_mem_gb=mark.peak_mem_gb,
                cache_gb=mark.cache_gb,
                peak_rss_gb=mark.peak_rss_gb,
                page_faults_minor=mark.page_faults_minor,
                page_faults_major=mark.page_faults_major,
                energy_j=log.end.prefix_energy_j.get(mark.tokens),
                peak_footprint_gb=mark.peak_footprint_gb,
            )
            yield cut(whole, mark.tokens, ids, taken, beside)


def _generations(plan: Plan, log: JobLog, outputs: Outputs, *, timed: bool) -> list[Generation]:
    found: list[Generation] = []
    told = prefilled(log)
    start: PromptStart | None = None
    tokens: list[JobEvent] = []
    for line in log.events:
        event = line.event
        if isinstance(event, PromptStart):
            start, tokens = event, []
        elif isinstance(event, Token):
            tokens.append(line)
        elif isinstance(event, PromptEnd) and start is not None and tokens:
            whole = _generation(start, told.get(start.prompt), tokens, event, outputs, timed=timed)
            found.append(whole.model_copy(update={"beside": _beside(plan, start.prompt, told, tokens, outputs)}))
        elif isinstance(event, Deepened):
            found[-1] = found[-1].model_copy(update={"depths": event.depths})
    return found


def _beside(
    plan: Plan, prompt: str, told: Mapping[str, str], lines: Sequence[JobEvent], outputs: Outputs
) -> tuple[Beside, ...]:
    """Return the sequences that were decoded in the same steps as a prompt's own."""
    _, *names = members([each.id for each in plan.prompts.prompt], prompt, plan.conditions.batch)
    steps = [line.event.others or () for line in lines if isinstance(line.event, Token)]
    found: list[Beside] = []
    for index, name in enumerate(names):
        ids = tuple(others[index] for others in steps)
        outputs[output_hash(ids)] = ids
        count = len(plan.token_ids(name))
        found.append(Beside(prompt=name, prompt_tokens=count, prompt_sha256=told.get(name), output=output_hash(ids)))
    return tuple(found)


def _generation(
    start: PromptStart, sha256: str | None, lines: Sequence[JobEvent], end: PromptEnd, outputs: Outputs, *, timed: bool
) -> Generation:
    tokens = [line.event for line in lines if isinstance(line.event, Token)]
    ids = tuple(token.id for token in tokens)
    name = output_hash(ids)
    outputs[name] = ids
    times = [token.t_ns for token in tokens]
    margins = [token.margin for token in tokens if token.margin is not None]
    return Generation(
        prompt=start.prompt,
        prompt_tokens=start.prompt_tokens,
        prompt_sha256=sha256,
        output=name,
        tokens=len(ids),
        ttft_s=(times[0] - start.t_ns) / 1e9,
        decode_s=(times[-1] - times[0]) / 1e9,
        supervisor_decode_s=max(0.0, lines[-1].at - lines[0].at),
        token_us=tuple((b - a) // 1000 for a, b in pairwise(times)) if timed else (),
        peak_mem_gb=end.peak_mem_gb,
        active_before_gb=start.active_before_gb,
        cache_gb=end.cache_gb,
        margins=tuple(round(m, 6) for m in margins) if len(margins) == len(ids) else (),
    )
