"""Starts and resumes sessions: the way in for `zmlx run` and for replays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from filelock import BaseFileLock

from zmlx_bench.catalog import families
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints import context
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.environments.make import Say
from zmlx_bench.environments.used import use
from zmlx_bench.errors import CannotHere, UnusableInput, ZmlxError
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import device, facts, heat, state
from zmlx_bench.printable import encodable
from zmlx_bench.protocol.plan import alike, arms_of, draw_up
from zmlx_bench.schema.base import Backend, utc_now
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.matrix import capsule_file_name, row_of
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.schema.sealed import UNSEALED
from zmlx_bench.schema.session import CapsuleRef, FoundSites, Session
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session import capsules, cooling, elsewhere, extend, known_ids, looking, near, store
from zmlx_bench.session.environment import shared_variables, software, without_secrets
from zmlx_bench.session.failing import FOR_GOOD, ChangedMeanwhile
from zmlx_bench.session.recorded import recorded
from zmlx_bench.session.request import Request, check, check_batch, timeouts_of
from zmlx_bench.session.runner import Ground, Observer, run_jobs
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
    locks: tuple[BaseFileLock, ...] = ()
    """Of the session, the device, and the environments of its arms; held until the session is complete."""

    def release(self) -> None:
        """Let others measure here."""
        for lock in self.locks:
            lock.release()


def prepare(workspace: Workspace, request: Request, incumbent_of: Incumbent, say: Say = lambda _: None) -> Prepared:
    """Check everything that can be checked without a model, make the prompts token ids, draw up the plan, and write
    `session.json`. `say` gets a line for people about what takes long."""
    began = time.perf_counter()
    check(request)
    first_look = looking.first(workspace, request)
    catalog = Catalog(workspace, request.family)
    within = None
    if request.within is None:
        others = elsewhere.declare(catalog, request.environments)
    else:
        within = elsewhere.within(catalog, request.environments[0], request.within)
        others = [within.stock, within.again, within.asked]
    names = [*(catalog.choose(request.variants) if request.variants or not others else ()), *others]
    backend = backends.choose(request.backend)
    machine = facts.read(backend)
    if request.cool and not heat.known(state.read(backend)):
        raise CannotHere(
            "--cooldown cool: this machine tells neither a temperature nor thermal pressure; "
            "give seconds, such as --cooldown 30"
        )
    prompts = prompt_catalog.load(request.prompts)
    located = _locate(workspace, request, machine)
    conditions = request.conditions
    promoted = incumbent_of(workspace, request.family, located, machine, conditions)
    if promoted is not None and promoted not in catalog.strict():
        promoted = None
    made: elsewhere.Found = {}
    explicit = request.variants is not None or bool(others)
    usable, left_out = _resolved(
        catalog, names, backend, conditions, partial(elsewhere.placed, catalog, made, say), explicit=explicit
    )
    audit_positions = near.audit_positions(request, usable, prompts, workspace)
    name = request.session or store.new_name(request.family)
    # Before the first process of ours: it would disturb another session on this device.
    locks = _locks(workspace, name, backend, made, share=request.share_device)
    encoded = _encoded(request, located, prompts, locks)
    if families.is_structural(request.family, workspace):
        say(f"loading {located.checkpoint.label} to find its sites")
    sites, usable, unserved = _surveyed(request, located, catalog, backend, usable, locks)
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
        within=within,
        audit_positions=audit_positions,
    )
    session = Session(
        schema_version=2,
        session=name,
        state="running",
        started=utc_now(),
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
    notes = tuple(map(_note, alike(plan))) if within is None else ()
    return Prepared(store.write(workspace, session), ground, located, (*left_out, *unserved), notes, locks)


def _note(names: tuple[str, ...]) -> str:
    return (
        f"{', '.join(names[:-1])} and {names[-1]} are the same kernels with the same environment: all but one are "
        "measured in vain, and Holm's correction asks more of every variant for them; name one with --variants"
    )


def reopen(workspace: Workspace, name: str, *, share_device: bool = False, more: bool = False) -> Prepared:
    """Open a session to resume it; UnusableInput says what changed when code, checkpoint or machine did.

    With `more` a finished session is taken up again where its looks left it undecided.
    """
    session = store.load(workspace, name)
    if more:
        extend.check(workspace, session)
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
    locks: tuple[BaseFileLock, ...] = ()
    if session.state != "finished" or more:
        if session.failure is not None:
            raise UnusableInput(f"session {name} cannot be resumed, for it failed: {session.failure}; start a new one")
        changed = _differences(session, catalog, made, machine, located, workspace)
        if changed:
            raise UnusableInput(f"session {name} cannot be resumed: {'; '.join(changed)}; start a new one")
        locks = _locks(workspace, name, plan.backend, made, share=share_device)
        # Another process may have been at it until now.
        session = store.load(workspace, name)
    if more:
        session = extend.open_again(workspace, session)
    if session.state != "finished":
        store.clear(workspace, name)
        if session.extended:
            extend.remove(workspace, session)
        update = {"resumed": session.resumed + 1, "shared_device": session.shared_device or share_device}
        session = store.write(workspace, session.model_copy(update=update))
    ground = Ground(workspace, located.path, catalog, made)
    return Prepared(session, ground, located, locks=locks)


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
        _refuse_changed(session, prepared.ground.catalog)
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
    known = recorded(session.plan, store.events_path(workspace, session.session))
    built = capsules.build(session, known.runs, known.outputs, ended=known.ended, audits=known.audits)
    for capsule in built:
        capsule_files.write(workspace, capsule)
    matrix.record(workspace, session.session, [row_of(capsule) for capsule in built])
    closed = session.model_copy(
        update={
            "state": "finished",
            "ended": known.ended,
            "capsules": tuple(
                CapsuleRef(file=capsule_file_name(capsule), content_sha256=capsule.content_sha256) for capsule in built
            ),
        }
    )
    return store.write(workspace, closed), built


def _locks(
    workspace: Workspace, name: str, backend: Backend, made: elsewhere.Found, *, share: bool
) -> tuple[BaseFileLock, ...]:
    """Return the held locks of the session, the device, and each environment of the cache that an arm runs in."""
    held = [store.claim(workspace, name)]
    try:
        for take in (partial(device.take, backend, share=share), *(partial(use, one) for one in made.values())):
            if (lock := take()) is not None:
                held.append(lock)
    except CannotHere:
        for lock in held:
            lock.release()
        raise
    return tuple(held)


def _locate(workspace: Workspace, request: Request, machine: Machine) -> Located:
    return locate(
        request.family,
        request.checkpoint,
        machine,
        workspace=workspace,
        seed=request.seed,
        trust_remote_code=request.trust_remote_code,
        force=request.force,
        layers=request.layers,
    )


def _encoded(request: Request, located: Located, prompts: PromptSet, locks: Sequence[BaseFileLock]) -> Encoded:
    """Return the prompts as token ids, those of before where the weights are the same; a refusal frees the locks."""
    before = request.encoded_before
    known = before.encoded if before is not None and before.checkpoint == located.checkpoint.digest else None
    try:
        asked = request.conditions.context
        encoded = known or known_ids.encoded(located, prompts, () if asked is None else prompt_catalog.context_pieces())
        context.check(located, encoded, max(request.tokens), asked or 0)
        check_batch(request.batch, encoded)
    except BaseException:
        for lock in locks:
            lock.release()
        raise
    return encoded


def _surveyed(
    request: Request,
    located: Located,
    catalog: Catalog,
    backend: Backend,
    usable: list[ResolvedVariant],
    locks: Sequence[BaseFileLock],
) -> tuple[tuple[FoundSites, ...], list[ResolvedVariant], tuple[str, ...]]:
    """Return the sites of a model without a family of its own, the variants to measure, and why others are not: one
    that was not asked for by name is measured where it can be applied. A refusal frees the locks."""
    if not families.is_structural(request.family, catalog.workspace):
        return (), usable, ()
    # What another environment's mlx-lm makes of the model is its own process's business.
    here, there = ([one for one in usable if (one.environment is None) is same] for same in (True, False))
    try:
        found = survey(located, catalog, backend, here, seed=request.seed)
        kept, left_out = applicable(found, here) if request.variants is None and here else (here, ())
        return found.sites, [*kept, *there], left_out
    except BaseException:
        for lock in locks:
            lock.release()
        raise


def _resolved(
    catalog: Catalog,
    names: Sequence[str],
    backend: Backend,
    conditions: Conditions,
    placed: Callable[[ResolvedVariant], ResolvedVariant],
    *,
    explicit: bool,
) -> tuple[list[ResolvedVariant], tuple[str, ...]]:
    usable: list[ResolvedVariant] = []
    left_out: list[str] = []
    for variant in (catalog.resolve(name) for name in names):
        reason = catalog.missing_on(variant, backend) or catalog.unserved(variant, conditions)
        if reason is None and not explicit:
            reason = elsewhere.not_made(catalog, variant)
        if reason is None:
            usable.append(catalog.identify(placed(variant), backend, conditions))
        elif explicit:
            raise CannotHere(f"{catalog.path}: variant.{variant.name}: {reason}")
        else:
            left_out.append(f"{variant.name}: {reason}")
    return usable, tuple(left_out)


def _differences(
    session: Session,
    catalog: Catalog,
    made: elsewhere.Found,
    machine: Machine,
    located: Located,
    workspace: Workspace,
) -> list[str]:
    changed: list[str] = []
    if session.plan.encoded is None:
        changed.append("it was planned before prompts were made token ids once a session")
    now = software(workspace.root)
    for field in ("mlx", "mlx_lm", "zmlx", "python", "commit"):
        before, after = getattr(session.software, field), getattr(now, field)
        if before != after:
            changed.append(f"{field} was {before} and is {after}")
    for field in ("device", "os", "cpu_count", "cores", "memory_gb"):
        before, after = getattr(session.machine, field), getattr(machine, field)
        if before != after:
            changed.append(f"machine.{field} was {before} and is {after}")
    if located.checkpoint.digest != session.plan.checkpoint.digest:
        changed.append(f"checkpoint was {session.plan.checkpoint.digest} and is {located.checkpoint.digest}")
    changed += [f"variant {parts} changed" for parts in _changed_arms(session, catalog, made)]
    return changed


def _refuse_changed(session: Session, catalog: Catalog) -> None:
    """Raise ChangedMeanwhile where the jobs of a session cannot all have run what its plan says."""
    for parts in _changed_arms(session, catalog, elsewhere.again(catalog, session.plan)):
        raise ChangedMeanwhile(
            f"session {session.session}: {parts} changed while it ran; nothing was recorded, start a new one"
        )


def _changed_arms(session: Session, catalog: Catalog, made: elsewhere.Found) -> Iterator[str]:
    """Yield each variant that is no longer what was planned, with what may have changed; `made` are the environments
    as they are now. Its meaning counts, not the bytes of its sources."""
    for planned in (arm.variant for arm in session.plan.arms if arm.variant is not None):
        if planned.name in catalog.specs:
            now = elsewhere.as_now(catalog, planned.name, made)
            if planned.identity is None and now == planned:
                continue
            identified = catalog.identify(now, session.plan.backend, session.plan.conditions)
            if planned.identity is not None and identified.identity == planned.identity:
                continue
        own = "" if planned.environment is None else ", its environment"
        yield f"{planned.name}, its kernels{own} or the measured path"
