"""Holds what a session is taken up again with against what it was planned with: its plan is never changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.checkpoints import hub
from zmlx_bench.checkpoints.resolve import existing
from zmlx_bench.environments.asked import place
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.plan import Plan
from zmlx_bench.schema.session import Session
from zmlx_bench.session import elsewhere
from zmlx_bench.session.request import Request, timeouts_of
from zmlx_bench.workspace import Workspace

Option = Callable[[Session, Request], tuple[object, object]]
"""Returns what the plan says and what is asked; equal where the option changes nothing."""


def check(workspace: Workspace, session: Session, request: Request, given: Collection[str], again: str) -> None:
    """Raise UnusableInput for a session of another family, and naming every option of `given` (keys of `_OPTIONS`, and
    others) that asks for something else.

    `again` is the option that takes the session up, for the message.
    """
    planned = session.plan.family
    if planned != request.family:
        raise UnusableInput(f"{again} {session.session}: is a session of {planned}, not of {request.family}")
    others = list(_differing(workspace, session, request, given))
    if others:
        options = ", ".join(others)
        raise UnusableInput(
            f"{again} {session.session}: was planned otherwise than {options} {'says' if len(others) == 1 else 'say'}, "
            f"and a plan is not changed; leave {'it' if len(others) == 1 else 'them'} out, or start a new session"
        )


def _differing(workspace: Workspace, session: Session, request: Request, given: Collection[str]) -> Iterator[str]:
    bare = elsewhere.bare(session.plan).values()
    if "environment" in given and _places(workspace, bare) != _places(workspace, request.environments):
        yield "--environment"
    for field, (option, of) in _OPTIONS.items():
        if field in given:
            planned, asked = of(session, request)
            if planned != asked:
                yield option


def _places(workspace: Workspace, texts: Iterable[str]) -> set[object]:
    return {place(workspace, text) for text in texts}


def _tokens(session: Session, request: Request) -> tuple[object, object]:
    return set(session.plan.tokens), set(request.tokens)


def _blocks(session: Session, request: Request) -> tuple[object, object]:
    return None if session.plan.looks else session.plan.blocks, request.runs


def _at_most(session: Session, request: Request) -> tuple[object, object]:
    return session.plan.blocks if session.plan.looks else None, request.at_most


def _variants(session: Session, request: Request) -> tuple[object, object]:
    if request.variants == ["all"]:
        # Which are all is another question now; the session keeps those of then.
        return None, None
    arms = {role: {arm.name for arm in session.plan.arms if arm.role == role} for role in ("incumbent", "variant")}
    asked = set(request.variants or ())
    arms["variant"] -= elsewhere.bare(session.plan).keys()
    return arms["variant"] | (arms["incumbent"] & asked), asked


def _checkpoint(session: Session, request: Request) -> tuple[object, object]:
    planned, asked = session.checkpoint_option, request.checkpoint
    names = {planned, session.plan.checkpoint.label, "auto"}
    return True, asked in names or _place(planned, None) == _place(asked, planned)


def _place(option: str, planned: str | None) -> object:
    """Return what an option names: a folder wherever it is named from, or a hub id with its commit, which is the
    planned one's where the option says none."""
    path = existing(option)
    if path is not None:
        return path.resolve()
    repo, revision = hub.split(option)
    return repo, revision or hub.split(planned or "")[1]


def _timeouts(session: Session, request: Request) -> tuple[object, object]:
    return session.plan.timeouts, timeouts_of(request)


def _cooldown(session: Session, request: Request) -> tuple[object, object]:
    plan = session.plan
    return (plan.cooldown_s, plan.cool_at_most_s is not None), (request.cooldown_s, request.cool)


def _prompts(session: Session, request: Request) -> tuple[object, object]:
    return session.plan.prompts, prompt_catalog.load(request.prompts)


def _null_arm(session: Session, request: Request) -> tuple[object, object]:
    return any(arm.role == "null" for arm in session.plan.arms), request.null_arm


def _of_plan(planned: Callable[[Plan], object], asked: Callable[[Request], object]) -> Option:
    return lambda session, request: (planned(session.plan), asked(request))


_OPTIONS: Mapping[str, tuple[str, Option]] = {
    "tokens": ("--tokens", _tokens),
    "runs": ("--runs", _blocks),
    "until_decided": ("--until-decided", _of_plan(lambda plan: bool(plan.looks), lambda asked: asked.until_decided)),
    "at_most": ("--at-most", _at_most),
    "variants": ("--variants", _variants),
    "checkpoint": ("--checkpoint", _checkpoint),
    "in_familys_place": ("the checkpoint in FAMILY's place", _checkpoint),
    "backend": ("--backend", lambda session, asked: (True, asked.backend in (session.plan.backend, "auto"))),
    "no_null": ("--no-null", _null_arm),
    "cooldown": ("--cooldown", _cooldown),
    "timeout": ("--timeout", _timeouts),
    "prompts": ("--prompts", _prompts),
    "seed": ("--seed", _of_plan(lambda plan: plan.seed, lambda asked: asked.seed)),
    "trust_remote_code": (
        "--trust-remote-code",
        _of_plan(lambda plan: plan.checkpoint.trust_remote_code, lambda asked: asked.trust_remote_code),
    ),
    "layers": ("--layers", _of_plan(lambda plan: plan.checkpoint.layers, lambda asked: asked.layers)),
    "context": ("--context", _of_plan(lambda plan: plan.conditions.context, lambda asked: asked.context)),
    "batch": ("--batch", _of_plan(lambda plan: plan.conditions.batch, lambda asked: asked.batch)),
    "kv_bits": ("--kv-bits", _of_plan(lambda plan: plan.conditions.kv_bits, lambda asked: asked.kv_bits)),
    "max_kv_size": (
        "--max-kv-size",
        _of_plan(lambda plan: plan.conditions.max_kv_size, lambda asked: asked.max_kv_size),
    ),
    "audit": ("--audit", _of_plan(lambda plan: plan.audit_positions is not None, lambda asked: asked.audit)),
}
"""By the option's name as a parameter of `zmlx run`, and a checkpoint that FAMILY names; `--force` and `--share-device`
are no part of a plan."""
