"""Runs a bisection: the ends, then version after version, each a session; written down after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zmlx_bench import files
from zmlx_bench.bisect import said, show, state
from zmlx_bench.bisect.ends import Ends, range_of
from zmlx_bench.bisect.index import Release, released
from zmlx_bench.bisect.outcome import asks_next
from zmlx_bench.bisect.places import beside, place, texts
from zmlx_bench.bisect.said import Ran
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.environments.make import Say
from zmlx_bench.errors import CannotHere
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.machine import backend as backends
from zmlx_bench.schema.bisection import BisectedVersion, Bisection, BisectionStep, LeftOut, On
from zmlx_bench.schema.plan import Contrast
from zmlx_bench.session import api, elsewhere, looking
from zmlx_bench.session.request import EncodedBefore, Request, check
from zmlx_bench.session.taken_up import Observe, taken_up_or_begun
from zmlx_bench.workspace import Workspace

MEMORY_BLOCKS = 5
"""Peak memory hardly varies, but one process that stands 1% apart leaves it undecided with three."""


@dataclass(frozen=True)
class Question:
    """What `zmlx bisect` was asked for."""

    family: str
    ends: Ends
    on: On
    tokens: int
    blocks: int
    checkpoint: str = "auto"
    backend: str = "auto"
    seed: int = 0
    prompts: str | None = None
    find_links: tuple[Path, ...] = ()
    timeout_s: float | None = None
    trust_remote_code: bool = False
    force: bool = False
    share_device: bool = False
    command: tuple[str, ...] = ()


class Bisecting:
    """A bisection under way."""

    def __init__(self, workspace: Workspace, question: Question, observe: Observe, say: Say) -> None:
        self._workspace, self._question, self._observe, self._say = workspace, question, observe, say
        self._policy = read_policy(workspace)
        self._good: Ran | None = None

    def run(self) -> Bisection:
        """Go on until nothing is left to ask, and return what is known then.

        CannotHere where an end cannot be run; what ended before is written down, and the same question goes on from it.
        """
        self._check()
        releases, left_out = self._releases()
        asked = self._asked(releases, left_out)
        with state.alone(self._workspace, asked.bisection):
            known = state.begun(self._workspace, asked)
            if known is asked:
                versions = texts(self._workspace, self._question.ends.package, releases, self._say)
                known = state.write(self._workspace, asked.model_copy(update={"versions": versions}))
            else:
                self._say(f"bisection {known.bisection} goes on: {len(known.steps)} versions were asked about")
            known = self._ends(known)
            while (version := asks_next(known)) is not None:
                known = self._step(known, version)
            return known

    def _check(self) -> None:
        """Raise UnusableInput for what no session could be asked for, before environments are made."""
        request = self._request((), Contrast(good="good", bad="bad"))
        check(request)
        looking.first(self._workspace, request)
        prompt_catalog.load(request.prompts)
        backends.choose(request.backend)

    def _releases(self) -> tuple[tuple[Release, ...], tuple[LeftOut, ...]]:
        question = self._question
        found = range_of(released(question.ends.package, question.find_links), question.ends)
        names = ", ".join(str(one.version) for one in found.releases)
        self._say(f"{question.ends.package}: {len(found.releases)} versions: {names}")
        for version, why in found.left_out:
            self._say(f"left out: {version}: {why}")
        return found.releases, tuple(LeftOut(version=version, why=why) for version, why in found.left_out)

    def _asked(self, releases: tuple[Release, ...], left_out: tuple[LeftOut, ...]) -> Bisection:
        question = self._question
        return state.named(
            Bisection(
                bisection="unnamed",
                family=question.family,
                package=question.ends.package,
                on=question.on,
                good=str(question.ends.good),
                bad=str(question.ends.bad),
                tokens=question.tokens,
                blocks=question.blocks,
                checkpoint=question.checkpoint,
                backend=question.backend,
                seed=question.seed,
                prompts=question.prompts,
                prompts_sha256=prompt_catalog.load(_prompts(question)).sha256,
                wheels={str(one.version): files.sha256(one.wheel) for one in releases if one.wheel is not None},
                versions=tuple(BisectedVersion(version=str(one.version), environment="unknown") for one in releases),
                left_out=left_out,
            )
        )

    def _ends(self, known: Bisection) -> Bisection:
        """Measure the ends, where that is not done."""
        step = known.ends or BisectionStep(version=known.bad)
        good, bad = known.versions[0], known.versions[-1]
        if step.said is not None and step.session is not None:
            self._good = self._again(step.session)
            return known

        def write(now: BisectionStep) -> Bisection:
            return state.write(self._workspace, known.model_copy(update={"ends": now}))

        contrast = Contrast(good=_arm(good), bad=_arm(bad))
        ran = self._session((good, bad), contrast, step, write)
        for end in (good, bad):
            if (broken := said.failed(ran, _arm(end), step)) is not None:
                raise CannotHere(f"{known.package} {end.version}: does not run: {broken.why}")
        self._good = ran
        known = known.model_copy(update={"good_distributions": _beside(ran, good, known.package)})
        of_bad = _beside(ran, bad, known.package)
        step = step.model_copy(update={"session": ran.session.session, "distributions": of_bad})
        if known.on == "tokens":
            step = said.by_tokens(ran, ran, (_arm(good), _arm(bad)), step)
        elif known.on == "memory":
            step = said.by_memory(ran, contrast, step)
        else:
            step = said.by_speed(ran, contrast, self._policy, step)
        return write(step)

    def _step(self, known: Bisection, version: str) -> Bisection:
        """Ask about a version and write down what is said of it."""
        step = known.step(version) or BisectionStep(version=version)
        one = next(each for each in known.versions if each.version == version)
        good, bad = known.versions[0], known.versions[-1]

        def write(now: BisectionStep) -> Bisection:
            return state.write(self._workspace, state.with_step(known, now))

        try:
            place(self._workspace, one.environment, self._say)
        except CannotHere as error:
            self._say(f"skipped: {version}: {error}")
            return write(step.model_copy(update={"said": "skipped", "why": str(error)}))
        contrast = Contrast(good=_arm(good), bad=_arm(bad), asked=_arm(one), sign=_sign(known))
        # Tokens of the ends are known; speed and memory are held against theirs in the same blocks.
        arms = (one,) if known.on == "tokens" else (good, bad, one)
        ran = self._session(arms, contrast, step, write)
        beside_it = _beside(ran, one, known.package)
        step = step.model_copy(update={"session": ran.session.session, "distributions": beside_it})
        step = said.failed(ran, _arm(one), step) or self._said(known, ran, contrast, step)
        self._say(f"{known.package} {version}: {_in_words(step)}")
        return write(step)

    def _said(self, known: Bisection, ran: Ran, contrast: Contrast, step: BisectionStep) -> BisectionStep:
        if known.on == "tokens":
            assert self._good is not None
            assert contrast.asked is not None
            return said.by_tokens(self._good, ran, (contrast.good, contrast.asked), step)
        for end in (contrast.good, contrast.bad):
            if (broken := said.failed(ran, end, step)) is not None:
                return step.model_copy(update={"said": "undecided", "why": f"{end}: {broken.why}"})
        if known.on == "memory":
            return said.by_memory(ran, contrast, step)
        return said.by_speed(ran, contrast, self._policy, step)

    def _session(
        self,
        versions: tuple[BisectedVersion, ...],
        contrast: Contrast,
        step: BisectionStep,
        write: Callable[[BisectionStep], Bisection],
    ) -> Ran:
        """Run the session of a step, or what is left of it; its name is written down before it begins."""
        prepared = taken_up_or_begun(
            self._workspace,
            step.session,
            "the version",
            self._request(versions, contrast),
            lambda name: write(step.model_copy(update={"session": name})),
            self._say,
        )
        with self._observe(prepared) as observer:
            session, capsules = api.complete(prepared, observer)
        return Ran(session, {capsule.variant.name: capsule for capsule in capsules})

    def _again(self, name: str) -> Ran:
        """Return a session that has ended."""
        prepared = api.reopen(self._workspace, name)
        with self._observe(prepared) as observer:
            session, capsules = api.complete(prepared, observer)
        return Ran(session, {capsule.variant.name: capsule for capsule in capsules})

    def _request(self, versions: tuple[BisectedVersion, ...], contrast: Contrast) -> Request:
        question = self._question
        by_speed = question.on == "speed"
        fixed = {"tokens": 1, "memory": MEMORY_BLOCKS}.get(question.on)
        before = None if self._good is None else self._good.session.plan
        return Request(
            family=question.family,
            tokens=(question.tokens,),
            runs=fixed,
            until_decided=by_speed,
            at_most=question.blocks if by_speed else None,
            contrast=contrast if by_speed else None,
            environments=tuple(one.environment for one in versions),
            checkpoint=question.checkpoint,
            backend=question.backend,
            null_arm=False,
            timeout_s=question.timeout_s,
            seed=question.seed,
            prompts=_prompts(question),
            encoded_before=(
                None
                if before is None or before.encoded is None
                else EncodedBefore(before.checkpoint.digest, before.prompts.sha256, before.encoded)
            ),
            trust_remote_code=question.trust_remote_code,
            force=question.force,
            share_device=question.share_device,
            command=question.command,
        )


def _prompts(question: Question) -> str | None:
    """Return what sessions ask: the first prompt where nothing is said, or all of them where tokens are compared."""
    if question.prompts is not None or question.on == "tokens":
        return question.prompts
    return prompt_catalog.load(None).prompt[0].id


def _arm(version: BisectedVersion) -> str:
    return elsewhere.name_of(version.environment)


def _beside(ran: Ran, version: BisectedVersion, package: str) -> dict[str, str]:
    """Return what is installed beside the package in the environment in which a version was measured."""
    variant = ran.session.plan.arm(_arm(version)).variant
    return {} if variant is None or variant.environment is None else beside(variant.environment, package)


def _sign(known: Bisection) -> Literal[-1, 1]:
    figure = None if known.ends is None else known.ends.figure
    return 1 if figure is not None and figure.ratio > 1 else -1


def _in_words(step: BisectionStep) -> str:
    why = f": {step.why}" if step.why else ""
    figure = "" if step.figure is None else f" ({step.figure.ratio:.3f}x of the good end)"
    return f"{show.LIKE[step.said]}{figure}{why}"
