"""Screens variants: process after process, each with every variant of one set of variables, and what is known so far.

A variant that takes its process with it loses its place, and the process is run again without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from filelock import BaseFileLock

from zmlx_bench.analysis import screen as analysis
from zmlx_bench.catalog import families
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import CannotHere
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import device, facts
from zmlx_bench.measured.messages import Conditions, Instructions, Prompt
from zmlx_bench.printable import said
from zmlx_bench.process import told_path
from zmlx_bench.protocol.order import block_orders
from zmlx_bench.report import words
from zmlx_bench.schema.base import Status
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.plan import Timeouts
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.prompts import PromptSet
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.screen import process
from zmlx_bench.screen.process import Ran
from zmlx_bench.screen.request import Request, check
from zmlx_bench.session import inputs
from zmlx_bench.session.ahead import answers_alike, compile_ahead, gpu, mark
from zmlx_bench.session.ahead import wanted as compiles_ahead
from zmlx_bench.session.compiled import Compiled, place
from zmlx_bench.session.environment import child_environment, without_secrets
from zmlx_bench.session.instructions import conditions_of
from zmlx_bench.workspace import Workspace

Variables = tuple[tuple[str, str], ...]
"""A variant's environment variables, sorted."""
NO_VARIABLES: Variables = ()


@dataclass
class Process:
    """A process of a screening, running or ended."""

    number: int
    env: Variables
    order: tuple[str, ...]
    """Variants in the order of the first half."""
    ran: Ran = field(default_factory=Ran)
    counts: bool = False
    reason: str | None = None
    drift: Ratio | None = None


@dataclass(frozen=True)
class Fallen:
    """Why a variant is not asked any more."""

    status: Status | Literal["diverged"]
    reason: str
    matched: int | None = None


class Observer(Protocol):
    """Is told how a screening goes on."""

    def started(self, process: Process) -> None:
        """A process starts."""

    def compiling(self, process: Process) -> None:
        """The kernels of a process's variants are compiled before it."""

    def changed(self, process: Process) -> None:
        """A segment has begun or ended, or a variant was dropped."""

    def ended(self, process: Process) -> None:
        """A process has ended; whether it counts is known."""


class Screen:
    """A screening: what was asked for, and what has been found."""

    def __init__(
        self,
        request: Request,
        timeouts: Timeouts,
        catalog: Catalog,
        located: Located,
        machine: Machine,
        policy: Policy,
        variants: Mapping[str, ResolvedVariant],
        absent: Mapping[str, Fallen],
    ) -> None:
        """`variants` are by name in the order asked for; of them `absent` do not run on this backend."""
        self.request = request
        self.catalog = catalog
        self.located = located
        self.machine = machine
        self.policy = policy
        self.variants = variants
        self.fallen = dict(absent)
        self.sets: dict[Variables, list[str]] = {NO_VARIABLES: []}
        """The variants that run here by their variables; those without any first, were there none."""
        for name, variant in variants.items():
            if name not in absent:
                self.sets.setdefault(variables(variant), []).append(name)
        self.processes: list[Process] = []
        self.finished = False
        self.begun = time.monotonic()
        self.prompts: tuple[Prompt, ...] = ()
        self.conditions: Conditions | None = None
        """None: the default ones."""
        self.lock: BaseFileLock | None = None
        self.timeouts = timeouts
        self._asked: set[str] = set()
        """Marks of the variants that were to be compiled ahead."""

    @property
    def planned(self) -> int:
        """How many processes are planned, should none be run again."""
        return len(self.sets) * self.request.processes

    def left(self) -> bool:
        """Whether a variant is still to be asked."""
        return any(name not in self.fallen for name in self.variants)

    def complete(self, observer: Observer) -> None:
        """Run every process. CannotHere where the stock model does not run; the device is free afterwards."""
        known = gpu(self.machine.backend)
        ahead = known is not None and compiles_ahead() and answers_alike(self.request.of_session.conditions)
        with contextlib.ExitStack() as stack:
            stack.callback(self.release)
            compiled = stack.enter_context(Compiled(place(gpu=known)))
            for env, order in self.sequence():
                self._until_done(env, order, observer, compiled, ahead=ahead)
            self.finished = True

    def release(self) -> None:
        """Let others measure on the device."""
        if self.lock is not None:
            self.lock.release()

    def sequence(self) -> Iterator[tuple[Variables, tuple[str, ...]]]:
        """Yield each process's variables and the order of its variants, both reversed in every second repetition."""
        sets = self.sets
        orders = {env: block_orders(sets[env], self.request.processes, f"{self.request.seed}:{env}") for env in sets}
        for repetition in range(self.request.processes):
            for env in [*sets] if repetition % 2 == 0 else [*reversed(sets)]:
                yield env, orders[env][repetition]

    def _until_done(
        self, env: Variables, order: tuple[str, ...], observer: Observer, compiled: Compiled, *, ahead: bool
    ) -> None:
        """Run a process; where a variant took it with it, run it again without that one."""
        while self.left():
            names = tuple(name for name in order if name not in self.fallen)
            if env and not names:
                return
            found = Process(len(self.processes) + 1, env, names)
            self.processes.append(found)
            whole = child_environment() | dict(env) | compiled.environment
            if ahead and not compiled.empty:
                self._compile(found, whole, compiled, observer)
            observer.started(found)

            def heard(ran: Ran, found: Process = found) -> None:
                found.ran = ran
                observer.changed(found)

            found.ran = process.run(self._told(names), whole, self.timeouts, heard)
            compiled.ended(well=found.ran.done)
            again = self.judge(found)
            observer.ended(found)
            if not again:
                return

    def _compile(self, found: Process, env: Mapping[str, str], compiled: Compiled, observer: Observer) -> None:
        """Have the kernels of a process's variants compiled, those not asked for yet.

        Not before the first process where MLX has nothing of its own yet, which takes it longer than this may take.
        """
        told: dict[str, Instructions] = {}
        lengths = [len(prompt.token_ids) for prompt in self.prompts]
        for name, each in zip(found.order, self._told(found.order)[1:], strict=True):
            asked = self.request.of_session.conditions
            variant = self.catalog.identify(self.variants[name], self.machine.backend, asked)
            known = mark(variant, self.located.checkpoint, lengths)
            if known is not None and known not in self._asked:
                told[known] = dataclasses.replace(each, conditions=None)
        self._asked.update(told)
        log = compiled.folder / "ahead.log"
        compile_ahead(told, sys.executable, env, compiled, log, self.timeouts, lambda: observer.compiling(found))

    def judge(self, found: Process) -> bool:
        """Note what an ended process says; return whether it is to be run again without the variant that ended it."""
        ran = found.ran
        self._drop(found)
        if not ran.done:
            return self._failed(found)
        found.drift = analysis.drift(ran.segments)
        if not _same(ran):
            found.reason = "its stock segments have different tokens"
        elif ran.answers[analysis.BASELINE][0] != self._answer(found.env):
            found.reason = "its stock segments have other tokens than those of a process before"
        elif found.drift is not None and analysis.drifted(found.drift):
            found.reason = f"its last stock segment ran at {_words(found.drift)} of its first"
        found.counts = found.reason is None
        return False

    def _drop(self, found: Process) -> None:
        for name, dropped in found.ran.dropped.items():
            if dropped.status == "unavailable" or _same(found.ran):
                self.fallen[name] = Fallen(dropped.status, without_secrets(dropped.message), dropped.matched)
        reference = self._answer(NO_VARIABLES)
        own = self._answer(found.env)
        if found.env and reference and own and reference != own:
            why = f"under {_assigned(found.env)} the stock model's own tokens are other ones"
            matched = next((i for i, (a, b) in enumerate(zip(reference, own, strict=False)) if a != b), len(own))
            for name in found.order:
                self.fallen.setdefault(name, Fallen("diverged", why, matched))

    def _answer(self, env: Variables) -> tuple[int, ...]:
        """Return the stock model's tokens under these variables, from the first process that agreed with itself."""
        answers = [p.ran.answers[analysis.BASELINE][0] for p in self.processes if p.env == env and _same(p.ran)]
        return answers[0] if answers else ()

    def _failed(self, found: Process) -> bool:
        ran, message = found.ran, without_secrets(found.ran.message)
        if ran.at in found.order:
            found.reason = f"{ran.at} ended it"
            self.fallen[ran.at] = Fallen(ran.status, message)
            return True
        found.reason = f"the stock model failed in it ({ran.status}): {said(message)}"
        if ran.segments:
            return False
        if not found.env:
            raise CannotHere(f"the stock model does not run here ({ran.status}): {said(message)}")
        why = f"under {_assigned(found.env)} the stock model does not run: {message}"
        self.fallen.update({name: Fallen(ran.status, why) for name in found.order})
        return False

    def _told(self, names: tuple[str, ...]) -> list[Instructions]:
        request, checkpoint = self.request, self.located.checkpoint
        return [
            Instructions(
                family_folder=told_path(families.folder(request.family, self.catalog.workspace)),
                checkpoint_kind=checkpoint.kind,
                path=told_path(self.located.path),
                seed=request.seed,
                layers=checkpoint.layers,
                trust_remote_code=checkpoint.trust_remote_code,
                backend=self.machine.backend,
                variant=None if name is None else self.catalog.plain(self.variants[name]),
                kernels=told_path(self.catalog.workspace.kernels),
                tokens=request.tokens,
                prompts=self.prompts,
                margins=False,
                conditions=self.conditions,
            )
            for name in (None, *names)
        ]


def prepare(workspace: Workspace, request: Request) -> Screen:
    """Check everything that can be checked without a model, take the device, and make the prompt token ids.

    Where no variant runs on the backend, neither is done."""
    timeouts = check(request)
    catalog = Catalog(workspace, request.family)
    names = catalog.choose(request.variants)
    policy = read_policy(workspace)
    backend = backends.choose(request.backend)
    machine = facts.read(backend)
    asked = request.of_session.conditions
    prompts = PromptSet(prompt=prompt_catalog.load(request.prompts).prompt[: asked.batch])
    located = inputs.located(workspace, request.of_session, machine)
    resolved = {name: catalog.resolve(name) for name in names}
    missing = {
        name: catalog.not_in_process(name, backend) or catalog.unserved(variant, asked)
        for name, variant in resolved.items()
    }
    absent = {name: Fallen("unavailable", reason) for name, reason in missing.items() if reason is not None}
    screen = Screen(request, timeouts, catalog, located, machine, policy, resolved, absent)
    if not screen.left():
        return screen
    # Before the first process of ours: it would disturb who measures on this device.
    screen.lock = device.take(backend, share=request.share_device)
    try:
        encoded = inputs.encoded(request.of_session, located, prompts)
    except BaseException:
        screen.release()
        raise
    names = [prompt.id for prompt in prompts.prompt]
    screen.prompts = tuple(Prompt(name, tuple(encoded.token_ids[name])) for name in names)
    screen.conditions = conditions_of(asked, encoded, names, names[:1])
    return screen


def variables(variant: ResolvedVariant) -> Variables:
    """Return the variables that a variant's processes have."""
    return tuple(sorted(variant.env.items()))


def _same(ran: Ran) -> bool:
    """Whether the stock model gave the same tokens in all of its segments, of which there is one at least."""
    answers = [answer for each in ran.answers.values() for answer in each]
    return bool(answers) and len(set(answers)) == 1


def _assigned(env: Variables) -> str:
    return " ".join(f"{name}={value}" for name, value in env)


def _words(ratio: Ratio) -> str:
    return words.ratio(ratio) if math.isfinite(ratio.value) else "no speed"
