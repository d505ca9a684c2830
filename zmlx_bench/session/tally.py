"""Holds a worker to its job: what it reports is counted as it comes, so that no figure rests on its word for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zmlx_bench.measured.conditions.asked import Asked, other_cache
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

_CACHES, _CONTEXT = "what its caches are", "what its context is"


class BrokenProtocol(Exception):
    """A worker reported something that is not its job."""


@dataclass(frozen=True)
class Expected:
    """What the conditions of a session make a worker report, beyond its job."""

    asked: Asked
    context: Sequence[int] = ()
    told: bool = False
    """Whether the caches are to be told: under all but the default conditions."""


DEFAULT = Expected(Asked())


class Tally:
    """Counts the events of one job."""

    def __init__(
        self,
        job: Job,
        forced: Mapping[str, Sequence[int]],
        token_ids: Mapping[str, Sequence[int]],
        expected: Expected = DEFAULT,
    ) -> None:
        """`token_ids` are the prompts that the job prefills, as the session has them."""
        self._expected = expected
        self._missing = {*([_CACHES] if expected.told else []), *([_CONTEXT] if expected.context else [])}
        self._token_ids = token_ids
        self._told = False
        self._tokens = job.tokens
        self._prefixes = list(job.prefixes)
        self._left = list(forced if job.kind == "audit" else job.prompts)
        self._forced = forced
        self._at: str | None = None
        self._seen = 0
        self._clock = 0

    def note(self, event: WorkerEvent) -> None:
        """Count an event; BrokenProtocol when no honest worker could have sent it here."""
        match event:
            case Prompts():
                self._compare(event.sha256)
            case PromptStart():
                self._start(event.prompt)
                if event.prompt_tokens != (length := len(self._token_ids[event.prompt])):
                    raise BrokenProtocol(f"counts {event.prompt_tokens} tokens of {event.prompt}, which has {length}")
                self._clock = event.t_ns
            case Token():
                self._token(event.t_ns, 1 + len(event.others or ()))
            case FilledEvent():
                self._filled(event)
            case Caches():
                if (why := other_cache(event.caches, self._expected.asked)) is not None:
                    raise BrokenProtocol(why)
                self._missing.discard(_CACHES)
            case Deepened():
                if self._at is not None:
                    raise BrokenProtocol(f"told what {event.prompt} took before its end")
            case Prefix():
                if self._at is None or self._prefixes[:1] != [self._seen] or event.tokens != self._seen:
                    raise BrokenProtocol(f"reported a prefix of {event.tokens} tokens after {self._seen}")
                self._prefixes.pop(0)
            case PromptEnd():
                if self._at != event.prompt or self._seen != self._tokens:
                    raise BrokenProtocol(f"ended {event.prompt} after {self._seen} of {self._tokens} tokens")
                self._at = None
            case Audited():
                self._start(event.prompt)
                self._at = None
                if len(event.variant.kl) != len(self._forced[event.prompt]):
                    raise BrokenProtocol(f"audited {len(event.variant.kl)} positions of {event.prompt}")
            case Done():
                if self._at is not None or self._left:
                    raise BrokenProtocol(f"was done before {self._at or self._left[0]} was answered")

    def _compare(self, told: Mapping[str, str]) -> None:
        expected = {prompt: ids_hash(ids) for prompt, ids in self._token_ids.items()}
        for prompt in {**expected, **told}:
            if told.get(prompt) != expected.get(prompt):
                raise BrokenProtocol(f"would prefill other token ids than the session's as {prompt}")
        self._told = True

    def _start(self, prompt: str) -> None:
        if not self._told:
            raise BrokenProtocol(f"did not say what it prefills before {prompt}")
        if self._missing:
            raise BrokenProtocol(f"did not say {' and '.join(sorted(self._missing))} before {prompt}")
        if self._at is not None or not self._left or self._left[0] != prompt:
            raise BrokenProtocol(f"reported prompt {prompt} out of turn")
        self._at, self._seen = self._left.pop(0), 0

    def _filled(self, event: FilledEvent) -> None:
        context = self._expected.context
        if event.tokens != len(context) or event.sha256 != ids_hash(context):
            raise BrokenProtocol("filled the context with other token ids than the session's")
        self._missing.discard(_CONTEXT)

    def _token(self, t_ns: int, sequences: int) -> None:
        if sequences != self._expected.asked.batch:
            raise BrokenProtocol(f"reported a step of {sequences} sequences, not {self._expected.asked.batch}")
        if self._prefixes[:1] == [self._seen]:
            raise BrokenProtocol(f"went on after {self._seen} tokens without what they took")
        self._seen += 1
        if self._at is None or self._seen > self._tokens:
            raise BrokenProtocol(f"reported more than the {self._tokens} tokens of its budget")
        if t_ns < self._clock:
            raise BrokenProtocol("its clock ran backwards")
        self._clock = t_ns
