"""Starts and resumes sessions: the way in for `zmlx run` and for replays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from zmlx_bench.catalog import families
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.environments.make import Say
from zmlx_bench.environments.used import use
from zmlx_bench.errors import CannotHere, UnusableInput, ZmlxError
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import clock, device, facts, heat, state
from zmlx_bench.printable import encodable
from zmlx_bench.protocol.plan import alike, arms_of, draw_up
from zmlx_bench.schema.base import Backend, utc_now
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.matrix import capsule_file_name, row_of
from zmlx_bench.schema.plan import Conditions, Within
from zmlx_bench.schema.sealed import UNSEALED
from zmlx_bench.schema.session import CapsuleRef, FoundSites, Session
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session import capsules, changed, cooling, elsewhere, extend, inputs, looking, near, store
from zmlx_bench.session.environment import shared_variables, software, without_secrets
from zmlx_bench.session.failing import FOR_GOOD
from zmlx_bench.session.instructions import Ground
from zmlx_bench.session.recorded import recorded
from zmlx_bench.session.request import Request, check, timeouts_of
from zmlx_bench.session.runner import Observer, run_jobs
from zmlx_bench.session.sites import applicable, survey
from zmlx_bench.workspace import Workspace

Incumbent = Callable[[Workspace, str, Located, Machine, Conditions], str | None]
"""Tells the name of the variant promoted for (workspace, family, checkpoint, machine, conditions), or None."""


@dataclass(frozen=True)
class Prepared:
    """A session that is planned and written but whose jobs have not all run."""

    session: Session
    ground: Ground
    located: Located
    left_out: tuple[str, ...] = ()
    """Default variants that cannot run here, each with the reason."""
    notes: tuple[str, ...] = ()
    """What the plan costs without need, a sentence each."""
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """Locks of the session, the device, and the environments of its arms, until the session is complete."""

    def release(self) -> None:
        """Let others measure here."""
        self.held.close()


def prepare(workspace: Workspace, request: Request, incumbent_of: Incumbent, say: Say = lambda _: None) -> Prepared:
    """Check everything that can be checked without a model, make the prompts token ids, draw up the plan, and write
    `session.json`. `say` gets a line for people about what takes long."""
    began = time.perf_counter()
    check(request)
    first_look = looking.first(workspace, request)
    catalog = Catalog(workspace, request.family)
    wanted = _wanted(catalog, request)
    backend = backends.choose(request.backend)
    machine = facts.read(backend)
    if request.cool and not heat.known(state.read(backend)):
        raise CannotHere(
            "--cooldown cool: this machine tells neither a temperature nor thermal pressure; "
            "give seconds, such as --cooldown 30"
        )
    prompts = prompt_catalog.load(request.prompts)
    located = inputs.located(workspace, request, machine)
    conditions = request.conditions
    promoted = incumbent_of(workspace, request.family, located, machine, conditions)
    if promoted is not None and promoted not in catalog.strict():
        promoted = None
    made: elsewhere.Found = {}
    usable, left_out = _resolved(catalog, wanted, backend, conditions, partial(elsewhere.placed, catalog, made, say))
    audit_positions = near.audit_positions(request, usable, prompts, workspace)
    name = request.session or store.new_name(request.family)
    with contextlib.ExitStack() as held:
        # Before the first process of ours: it would disturb another session on this device.
        _hold(held, workspace, name, backend, made, share=request.share_device)
        encoded = inputs.encoded(request, located, prompts)
        if families.is_structural(request.family, workspace):
            say(f"loading {located.checkpoint.label} to find its sites")
        sites, usable, unserved = _surveyed(request, located, catalog, backend, usable)
        plan = draw_up(
            family=request.family,
            checkpoint=located.checkpoint,
            conditions=conditions,
            backend=backend,
            tokens=request.tokens,
            blocks=request.most_blocks,
            seed=request.seed,
            cooldown_s=request.cooldown_s,
            cool_at_most_s=cooling.AT_MOST_S if request.cool else None,
            timeouts=timeouts_of(request),
            prompts=prompts,
            encoded=encoded,
            arms=arms_of(
                usable,
                catalog.identify(catalog.resolve(promoted), backend, conditions) if promoted is not None else None,
                null_arm=request.null_arm,
            ),
            first_look=first_look,
            contrast=request.contrast,
            within=wanted.within,
            audit_positions=audit_positions,
        )
        session = Session(
            schema_version=2,
            session=name,
            state="running",
            started=utc_now(),
            since_boot_s=clock.since_boot_s(),
            preparing_s=round(time.perf_counter() - began, 3),
            command=tuple(encodable(without_secrets(part)) for part in request.command),
            checkpoint_option=located.option,
            environment=shared_variables(),
            shared_device=request.share_device,
            plan=plan,
            sites=sites,
            machine=machine,
            software=software(workspace.root),
            content_sha256=UNSEALED,
        )
        ground = Ground(workspace, located.path, catalog, made)
        notes = tuple(map(_note, alike(plan))) if wanted.within is None else ()
        written = store.write(workspace, session)
        return Prepared(written, ground, located, (*left_out, *unserved), notes, held.pop_all())


@dataclass(frozen=True)
class _Wanted:
    """The variants that a request names, or means where it names none."""

    names: tuple[str, ...]
    explicit: bool
    """Whether one that cannot run here is an error; else it is left out."""
    within: Within | None


def _wanted(catalog: Catalog, request: Request) -> _Wanted:
    """Return what is asked for; the stock model in other environments is taken into the catalog."""
    if request.within is not None:
        within = elsewhere.within(catalog, request.environments[0], request.within)
        chosen = catalog.choose(request.variants) if request.variants else ()
        return _Wanted((*chosen, within.stock, within.again, within.asked), True, within)
    others = elsewhere.declare(catalog, request.environments)
    chosen = catalog.choose(request.variants) if request.variants or not others else ()
    return _Wanted((*chosen, *others), request.variants is not None or bool(others), None)


def _note(names: tuple[str, ...]) -> str:
    return (
        f"{', '.join(names[:-1])} and {names[-1]} are the same kernels with the same environment: all but one are "
        "measured in vain, and Holm's correction asks more of every variant for them; name one with --variants"
    )


def reopen(workspace: Workspace, name: str, *, share_device: bool = False, more: bool = False) -> Prepared:
    """Open a session to resume it; UnusableInput says what changed when code, checkpoint or machine did.

    With `more` a finished session is taken up again where its looks left it undecided.
    """
    session = _reopenable(workspace, name, more=more)
    plan = session.plan
    catalog = Catalog(workspace, plan.family)
    made = elsewhere.again(catalog, plan)
    machine = facts.read(backends.choose(plan.backend))
    located = locate(
        plan.family,
        session.checkpoint_option,
        machine,
        workspace=workspace,
        seed=plan.seed,
        trust_remote_code=plan.checkpoint.trust_remote_code,
        force=True,
        layers=plan.checkpoint.layers,
    )
    with contextlib.ExitStack() as held:
        if session.state != "finished" or more:
            if others := changed.differences(session, catalog, made, machine, located):
                raise UnusableInput(f"session {name} cannot be resumed: {'; '.join(others)}; start a new one")
            _hold(held, workspace, name, plan.backend, made, share=share_device)
            # Another process may have been at it until now.
            session = _reopenable(workspace, name, more=more)
        if more:
            session = extend.open_again(workspace, session)
        if session.state != "finished":
            session = _resumed(workspace, session, share_device=share_device)
        ground = Ground(workspace, located.path, catalog, made)
        return Prepared(session, ground, located, held=held.pop_all())


def _reopenable(workspace: Workspace, name: str, *, more: bool) -> Session:
    """Return a session as it is written; UnusableInput where it failed for good, or no `more` may be asked of it."""
    session = store.load(workspace, name)
    if more:
        extend.check(workspace, session)
    if session.failure is not None:
        why = f"for it failed: {session.failure}"
        raise UnusableInput(f"session {name} cannot be resumed, {why}; start a new one")
    return session


def _resumed(workspace: Workspace, session: Session, *, share_device: bool) -> Session:
    """Return a session that runs again, without what whoever was at it left half written; only for who holds it."""
    store.clear(workspace, session.session)
    if session.extended:
        extend.remove(workspace, session)
    update = {"resumed": session.resumed + 1, "shared_device": session.shared_device or share_device}
    return store.write(workspace, session.model_copy(update=update))


def complete(prepared: Prepared, observer: Observer) -> tuple[Session, list[Capsule]]:
    """Run what is left of a prepared session and write its capsules, matrix rows and final `session.json`."""
    session, workspace = prepared.session, prepared.ground.workspace
    try:
        if session.state == "finished":
            folder = workspace.session(session.session)
            return session, [capsule_files.read(folder / ref.file) for ref in session.capsules]
        policy = read_policy(workspace) if session.plan.looks else None
        session = run_jobs(
            session,
            prepared.ground,
            observer,
            lambda now, blocks: now if policy is None else looking.look(workspace, now, policy, blocks),
        )
        changed.refuse(session, prepared.ground.catalog)
        return _record(workspace, session)
    except FOR_GOOD as error:
        with contextlib.suppress(CannotHere):
            store.write(workspace, session.model_copy(update={"state": "failed", "failure": str(error)}))
        raise
    finally:
        prepared.release()


def can_be_resumed(prepared: Prepared) -> bool:
    """Return whether a session that did not come to its end may do so another time."""
    try:
        return store.load(prepared.ground.workspace, prepared.session.session).state == "running"
    except ZmlxError:
        return False


def _record(workspace: Workspace, session: Session) -> tuple[Session, list[Capsule]]:
    """Write the capsules, matrix rows and final `session.json` of a session whose jobs have ended."""
    known = recorded(session, store.events_path(workspace, session.session))
    built = capsules.build(session, known.runs, known.outputs, ended=known.ended, audits=known.audits)
    for capsule in built:
        capsule_files.write(workspace, capsule)
    matrix.record(workspace, session.session, [row_of(capsule) for capsule in built])
    closed = session.model_copy(
        update={
            "state": "finished",
            "ended": known.ended,
            "clock_set_s": known.clock_set_s,
            "capsules": tuple(
                CapsuleRef(file=capsule_file_name(capsule), content_sha256=capsule.content_sha256) for capsule in built
            ),
        }
    )
    return store.write(workspace, closed), built


def _hold(
    held: contextlib.ExitStack,
    workspace: Workspace,
    name: str,
    backend: Backend,
    made: elsewhere.Found,
    *,
    share: bool,
) -> None:
    """Take the locks of the session, the device, and each environment of the cache that an arm runs in."""
    held.callback(store.claim(workspace, name).release)
    for take in (partial(device.take, backend, share=share), *(partial(use, one) for one in made.values())):
        if (lock := take()) is not None:
            held.callback(lock.release)


def _surveyed(
    request: Request, located: Located, catalog: Catalog, backend: Backend, usable: list[ResolvedVariant]
) -> tuple[tuple[FoundSites, ...], list[ResolvedVariant], tuple[str, ...]]:
    """Return the sites of a model without a family of its own, the variants to measure, and why others are not: one
    that was not asked for by name is measured where it can be applied."""
    if not families.is_structural(request.family, catalog.workspace):
        return (), usable, ()
    # What another environment's mlx-lm makes of the model is its own process's business.
    here, there = ([one for one in usable if (one.environment is None) is same] for same in (True, False))
    found = survey(located, catalog, backend, here, seed=request.seed)
    kept, left_out = applicable(found, here) if request.variants is None and here else (here, ())
    return found.sites, [*kept, *there], left_out


def _resolved(
    catalog: Catalog,
    wanted: _Wanted,
    backend: Backend,
    conditions: Conditions,
    placed: Callable[[ResolvedVariant], ResolvedVariant],
) -> tuple[list[ResolvedVariant], tuple[str, ...]]:
    """Return the variants that can run here, in their environments, and why the others are left out."""
    usable: list[ResolvedVariant] = []
    left_out: list[str] = []
    for variant in map(catalog.resolve, wanted.names):
        reason = catalog.missing_on(variant, backend) or catalog.unserved(variant, conditions)
        if reason is None and not wanted.explicit:
            reason = elsewhere.not_made(catalog, variant)
        if reason is None:
            usable.append(catalog.identify(placed(variant), backend, conditions))
        elif wanted.explicit:
            raise CannotHere(f"{catalog.path}: variant.{variant.name}: {reason}")
        else:
            left_out.append(f"{variant.name}: {reason}")
    return usable, tuple(left_out)
