"""What a worker reports is held against its job, event by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.measured.conditions.asked import Asked
from zmlx_bench.schema.audit import ArmTrace
from zmlx_bench.schema.event import (
    Audited,
    Caches,
    Deepened,
    Done,
    FilledEvent,
    Prefix,
    PromptEnd,
    Prompts,
    PromptStart,
    Token,
    WorkerEvent,
)
from zmlx_bench.schema.plan import Job
from zmlx_bench.schema.prompts import ids_hash
from zmlx_bench.schema.run import CacheKind
from zmlx_bench.session.tally import BrokenProtocol, Expected, Tally

JOB = Job(id=0, kind="fidelity", arm="a", tokens=2, prompts=("p", "q"))
TIMED = Job(id=0, kind="timed", arm="a", tokens=4, prefixes=(2, 3), prompts=("p",))
AUDIT = Job(id=0, kind="audit", arm="a", tokens=2, prompts=("p", "q"))
TOKEN_IDS = {"p": (7,), "q": (8, 9)}
TOLD = Prompts(sha256={prompt: ids_hash(ids) for prompt, ids in TOKEN_IDS.items()})
DONE = Done(peak_rss_gb=0.1, page_faults_minor=0, page_faults_major=0, cpu_s=0.1)


def start(prompt: str, t_ns: int = 0) -> PromptStart:
    return PromptStart(prompt=prompt, prompt_tokens=len(TOKEN_IDS[prompt]), t_ns=t_ns, active_before_gb=0.0)


def token(t_ns: int) -> Token:
    return Token(id=1, t_ns=t_ns)


def end(prompt: str) -> PromptEnd:
    return PromptEnd(prompt=prompt, peak_mem_gb=0.1, cache_gb=0.0)


def prefix(tokens: int) -> Prefix:
    return Prefix(
        tokens=tokens, peak_mem_gb=0.1, cache_gb=0.0, peak_rss_gb=0.1, page_faults_minor=0, page_faults_major=0
    )


def audited(prompt: str, positions: int = 1) -> Audited:
    trace = ArmTrace(kl=(0.0,) * positions, agrees=(True,) * positions, max_error=(0.0,) * positions)
    return Audited(prompt=prompt, baseline=trace, variant=trace)


HONEST: tuple[WorkerEvent, ...] = (
    start("p"), token(1), token(1), end("p"), start("q", 2), token(3), token(9), end("q"), DONE,
)  # fmt: skip


def tell(events: tuple[WorkerEvent, ...], job: Job = JOB) -> None:
    tally = Tally(job, {"p": (1,), "q": (1, 2)} if job.kind == "audit" else {}, TOKEN_IDS)
    for event in (TOLD, *events):
        tally.note(event)


def test_an_honest_worker_passes() -> None:
    tell(HONEST)
    tell((audited("p"), audited("q", 2), DONE), AUDIT)
    tell((start("p"), token(1), token(2), prefix(2), token(3), prefix(3), token(4), end("p"), DONE), TIMED)


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ((token(1), prefix(1)), "prefix of 1 tokens after 1"),
        ((token(1), prefix(2)), "prefix of 2 tokens after 1"),
        ((token(1), token(2), prefix(3)), "prefix of 3 tokens after 2"),
        ((token(1), token(2), prefix(2), prefix(2)), "prefix of 2 tokens after 2"),
        ((token(1), token(2), token(3)), "went on after 2 tokens"),
        ((token(1), token(2), prefix(2), token(3), token(4)), "went on after 3 tokens"),
    ],
)
def test_a_prefix_ends_where_the_plan_says(events: tuple[WorkerEvent, ...], says: str) -> None:
    with pytest.raises(BrokenProtocol, match=says):
        tell((start("p"), *events), TIMED)


def test_no_prefix_where_none_is_planned() -> None:
    with pytest.raises(BrokenProtocol, match="prefix of 1 tokens after 1"):
        tell((start("p"), token(1), prefix(1)))


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ((start("q"),), "prompt q out of turn"),
        ((start("p"), start("q")), "prompt q out of turn"),
        ((token(1),), "more than the 2 tokens of its budget"),
        ((start("p"), token(1), token(2), token(3)), "more than the 2 tokens of its budget"),
        ((start("p"), token(1), end("p")), "ended p after 1 of 2 tokens"),
        ((start("p"), token(1), token(2), end("q")), "ended q after 2 of 2 tokens"),
        ((start("p", 5), token(4)), "its clock ran backwards"),
        ((start("p"), token(2), token(1)), "its clock ran backwards"),
        ((DONE,), "was done before p was answered"),
        ((*HONEST[:3], DONE), "was done before p was answered"),
        ((*HONEST[:4], DONE), "was done before q was answered"),
        ((*HONEST, start("p")), "prompt p out of turn"),
        ((*HONEST, token(10)), "more than the 2 tokens of its budget"),
    ],
)  # fmt: skip
def test_what_no_honest_worker_reports(events: tuple[WorkerEvent, ...], says: str) -> None:
    with pytest.raises(BrokenProtocol, match=says):
        tell(events)


@pytest.mark.parametrize("events", [(audited("q", 2),), (audited("p", 2),), (audited("p"), audited("p")), (DONE,)])
def test_an_audit_of_something_else(events: tuple[WorkerEvent, ...]) -> None:
    with pytest.raises(BrokenProtocol):
        tell(events, AUDIT)


@pytest.mark.parametrize("job", [JOB, AUDIT])
@pytest.mark.parametrize(
    "told",
    [
        {"p": ids_hash((7,)), "q": ids_hash((9, 8))},
        {"p": ids_hash((7,))},
        {"p": ids_hash((7,)), "q": ids_hash((8, 9)), "r": ids_hash((7,))},
    ],
    ids=["other", "one less", "one more"],
)
def test_what_is_not_the_sessions_prompts(job: Job, told: dict[str, str]) -> None:
    with pytest.raises(BrokenProtocol, match=r"would prefill other token ids than the session's as [qr]"):
        Tally(job, {}, TOKEN_IDS).note(Prompts(sha256=told))


@pytest.mark.parametrize(("job", "event"), [(JOB, start("p")), (AUDIT, audited("p"))])
def test_what_was_not_told_before(job: Job, event: WorkerEvent) -> None:
    with pytest.raises(BrokenProtocol, match="did not say what it prefills before p"):
        Tally(job, {"p": (1,)}, TOKEN_IDS).note(event)


def test_a_prompt_of_another_length() -> None:
    event = start("q").model_copy(update={"prompt_tokens": 3})
    tell((start("p"), token(1), token(1), end("p")))
    with pytest.raises(BrokenProtocol, match="counts 3 tokens of q, which has 2"):
        tell((start("p"), token(1), token(1), end("p"), event))


CONTEXT = (4, 5, 6)
FILLED = FilledEvent(tokens=3, sha256=ids_hash(CONTEXT), seconds=0.1)
TWO = Caches(caches=(CacheKind(name="BatchKVCache", layers=2),))
PAIR = Job(id=0, kind="timed", arm="a", tokens=2, prompts=("p",))
GROWN = Deepened(prompt="p", depths=())


def step(t_ns: int, *others: int) -> Token:
    return Token(id=1, t_ns=t_ns, others=others or None)


def tell_pair(*events: WorkerEvent) -> None:
    tally = Tally(PAIR, {}, TOKEN_IDS, Expected(Asked(batch=2), CONTEXT, told=True))
    for event in (TOLD, *events):
        tally.note(event)


def test_an_honest_worker_under_conditions_passes() -> None:
    tell_pair(FILLED, TWO, start("p"), step(1, 7), step(2, 8), end("p"), GROWN, DONE)


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ((TWO, start("p")), "did not say what its context is before p"),
        ((FILLED, start("p")), "did not say what its caches are before p"),
        ((FilledEvent(tokens=3, sha256=ids_hash((4, 5, 7)), seconds=0.1),), "other token ids than the session's"),
        ((FilledEvent(tokens=2, sha256=ids_hash(CONTEXT), seconds=0.1),), "other token ids than the session's"),
        ((Caches(caches=(CacheKind(name="KVCache", layers=2),)),), "--batch 2 asks for BatchKVCache"),
        ((FILLED, TWO, start("p"), step(1)), "a step of 1 sequences, not 2"),
        ((FILLED, TWO, start("p"), step(1, 2, 3)), "a step of 3 sequences, not 2"),
        ((FILLED, TWO, start("p"), GROWN), "told what p took before its end"),
    ],
)
def test_what_no_honest_worker_reports_under_conditions(events: tuple[WorkerEvent, ...], says: str) -> None:
    with pytest.raises(BrokenProtocol, match=says):
        tell_pair(*events)


def test_a_batch_that_nobody_asked_for() -> None:
    with pytest.raises(BrokenProtocol, match="a step of 2 sequences, not 1"):
        tell((start("p"), step(1, 7)))


@given(gone=st.integers(0, len(HONEST) - 2))
def test_no_event_can_be_left_out(gone: int) -> None:
    with pytest.raises(BrokenProtocol):
        tell(HONEST[:gone] + HONEST[gone + 1 :])
