"""Checks the promotions of a workspace in another environment, a session each; written down after every one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.environments.asked import asked
from zmlx_bench.environments.make import Say, able
from zmlx_bench.errors import CannotHere
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.machine import backend as backends
from zmlx_bench.schema.promotion import Promotion
from zmlx_bench.schema.upgrade import Upgrade, UpgradeCheck
from zmlx_bench.session import api, looking
from zmlx_bench.session.request import Request, check
from zmlx_bench.session.taken_up import Observe, taken_up_or_begun
from zmlx_bench.upgrade import promoted, state
from zmlx_bench.upgrade.said import judged
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Question:
    """What `zmlx upgrade-check` was asked for."""

    environment: str
    blocks: int
    family: str | None = None
    backend: str = "auto"
    seed: int = 0
    prompts: str | None = None
    timeout_s: float | None = None
    share_device: bool = False
    command: tuple[str, ...] = ()


class Checking:
    """An upgrade check under way."""

    def __init__(self, workspace: Workspace, question: Question, observe: Observe, say: Say) -> None:
        self._workspace, self._question, self._observe, self._say = workspace, question, observe, say
        self._policy = read_policy(workspace)

    def run(self) -> Upgrade:
        """Return what holds of the promotions that are asked about, each measured where it was not before.

        CannotHere where the environment cannot be had. What ended before is written down, and the same question goes
        on from it.
        """
        question = self._question
        self._check()
        wanted = promoted.standing(self._workspace, question.family, question.backend)
        environment = asked(self._workspace, question.environment)
        elsewhere = [_elsewhere(one) for one in wanted]
        # Where nothing is promoted on this machine no environment is made in vain.
        digest = able(environment, self._say).environment.digest if None in elsewhere else None
        upgrade = state.named(
            Upgrade(
                upgrade="unnamed",
                environment=question.environment,
                digest=digest,
                blocks=question.blocks,
                seed=question.seed,
                prompts=question.prompts,
                prompts_sha256=prompt_catalog.load(question.prompts).sha256,
            )
        )
        if digest is None:
            return state.only(upgrade, [one for one in elsewhere if one is not None])
        with state.alone(self._workspace, upgrade.upgrade):
            upgrade = state.begun(self._workspace, upgrade)
            found: list[UpgradeCheck] = []
            for promotion in wanted:
                upgrade, one = self._one(upgrade, promotion)
                self._say(f"{promotion.family} {promotion.variant} on {promotion.backend}: {one.said}: {one.why}")
                found.append(one)
        return state.only(upgrade, found)

    def _check(self) -> None:
        """Raise UnusableInput for what no session could be asked for, before an environment is made."""
        request = self._common()
        check(request)
        looking.first(self._workspace, request)
        prompt_catalog.load(request.prompts)
        if self._question.backend != "auto":
            backends.named(self._question.backend)

    def _one(self, upgrade: Upgrade, promotion: Promotion) -> tuple[Upgrade, UpgradeCheck]:
        """Return what holds of a promotion, and the check with it."""
        of = _check_of(promotion)
        try:
            weights = promoted.weights_of(self._workspace, promotion)
            identity = promoted.identity_here(self._workspace, promotion, weights)
            of = of.model_copy(update={"identity": identity})
            known = state.known(upgrade, of)
            if known is not None and known.said not in (None, "unmeasured"):
                return upgrade, known
            prepared = taken_up_or_begun(
                self._workspace,
                None if known is None else known.session,
                promotion.variant,
                self._request(promotion, weights),
                partial(self._begun, upgrade, of),
                self._say,
            )
            of = of.model_copy(update={"session": prepared.session.session})
            with self._observe(prepared) as observer:
                session, capsules = api.complete(prepared, observer)
        except CannotHere as error:
            of = of.model_copy(update={"said": "unmeasured", "why": str(error)})
            return state.with_check(self._workspace, upgrade, of), of
        of = judged(session, capsules, self._policy, of)
        return state.with_check(self._workspace, upgrade, of), of

    def _begun(self, upgrade: Upgrade, of: UpgradeCheck, session: str) -> None:
        """Write down that a promotion's session begins."""
        state.with_check(self._workspace, upgrade, of.model_copy(update={"session": session}))

    def _request(self, promotion: Promotion, weights: promoted.Weights) -> Request:
        under = promotion.conditions
        return replace(
            self._common(),
            family=promotion.family,
            within=promotion.variant,
            checkpoint=weights.option,
            backend=promotion.backend,
            seed=self._question.seed if weights.seed is None else weights.seed,
            layers=weights.layers,
            trust_remote_code=weights.trust_remote_code,
            # It was promoted on such weights, on whatever machine it was.
            force=True,
            context=under.context,
            batch=under.batch,
            kv_bits=under.kv_bits,
            max_kv_size=under.max_kv_size,
        )

    def _common(self) -> Request:
        """Return what every session is asked for, whatever the promotion."""
        question = self._question
        return Request(
            family=question.family or "",
            tokens=sorted(self._policy.min_blocks),
            until_decided=True,
            at_most=question.blocks,
            environments=(question.environment,),
            within="",
            null_arm=False,
            timeout_s=question.timeout_s,
            seed=question.seed,
            prompts=question.prompts,
            share_device=question.share_device,
            command=question.command,
        )


def _elsewhere(promotion: Promotion) -> UpgradeCheck | None:
    """Return the check of a promotion that is another machine's; None of one that is this machine's."""
    try:
        promoted.machine_of(promotion)
    except CannotHere as error:
        return _check_of(promotion).model_copy(update={"said": "unmeasured", "why": str(error)})
    return None


def _check_of(promotion: Promotion) -> UpgradeCheck:
    return UpgradeCheck(
        family=promotion.family,
        checkpoint=promotion.checkpoint,
        checkpoint_digest=promotion.checkpoint_digest,
        backend=promotion.backend,
        device=promotion.device,
        cores=promotion.cores,
        conditions=promotion.conditions,
        variant=promotion.variant,
    )
