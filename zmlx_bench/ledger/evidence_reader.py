"""Reads the evidence of a workspace by group: all of it for a promotion, the latest that decides for a report.

Both give the same verdicts: a report leaves out only sessions that the rule never looks at.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from zmlx_bench import files
from zmlx_bench.analysis.decision import GroupEvidence, GroupKey, SessionEvidence, SessionVerdict, judge_session
from zmlx_bench.analysis.decision.adapter import key_of_row, key_of_session, session_evidence
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import carried
from zmlx_bench.printable import clean
from zmlx_bench.schema.base import CheckpointKind, Raw
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.head import head
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE, Workspace

Model = TypeVar("Model", Capsule, Session)
KNOWN: tuple[CheckpointKind, ...] = ("full", "synthetic", "tiny")
"""Kinds that name a checkpoint by themselves, on every machine; each is its label too."""
POLICY_FILE = "policy.toml"


def read_policy(workspace: Workspace) -> Policy:
    """Return the workspace's policy."""
    return files.read_toml(workspace.variants / POLICY_FILE, Policy)


@dataclass(frozen=True)
class Refusal:
    """A file that is not used as evidence, and why."""

    file: str
    why: str


@dataclass(frozen=True)
class SessionCapsules:
    """One session's evidence with the capsules behind it, by path."""

    key: GroupKey
    kind: CheckpointKind
    label: str
    options: str
    """Of `zmlx run`, what names the checkpoint."""
    evidence: SessionEvidence
    capsules: Mapping[str, Capsule]


class Reader:
    """Reads sessions and their capsules, each once; what cannot be used is refused and said."""

    def __init__(self, workspace: Workspace, policy: Policy) -> None:
        self._workspace, self._policy, self._carried = workspace, policy, carried.read(workspace)
        self._loaded: dict[str, SessionCapsules | None] = {}
        self._refused: dict[str, str] = {}

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What was not used so far."""
        return tuple(Refusal(clean(file), clean(why)) for file, why in sorted(self._refused.items()))

    def names(self) -> list[str]:
        """Return all sessions on disk."""
        return sorted(path.parent.name for path in self._workspace.capsules.glob(f"*/{SESSION_FILE}"))

    def session(self, name: str) -> SessionCapsules | None:
        """Return a finished session's evidence; None when it has none."""
        if name not in self._loaded:
            self._loaded[name] = self._read(name)
        return self._loaded[name]

    def refuse(self, faults: Iterable[Refusal]) -> None:
        """Use the named files no longer; a session that is named is refused whole."""
        for fault in faults:
            self._refused[fault.file] = fault.why
            self._loaded.pop(Path(fault.file).parent.name, None)

    def _read(self, name: str) -> SessionCapsules | None:
        file = f"capsules/{name}/{SESSION_FILE}"
        session = self._model(file, Session)
        if session is None or session.state != "finished":
            return None
        capsules: dict[str, Capsule] = {}
        for reference in session.capsules:
            path = f"capsules/{name}/{reference.file}"
            capsule = self._model(path, Capsule, head)
            if capsule is None:
                continue
            if capsule.content_sha256 != reference.content_sha256 or capsule.session != name:
                self._refused[path] = "is not the capsule that its session lists"
                continue
            capsules[path] = capsule
        evidence = session_evidence(session, capsules.items(), self._policy, self._carried)
        checkpoint = session.plan.checkpoint
        key, options = key_of_session(session), _options(session)
        return SessionCapsules(key, checkpoint.kind, checkpoint.label, options, evidence, capsules)

    def _model(self, file: str, model: type[Model], part: Callable[[Raw], Raw] | None = None) -> Model | None:
        if file in self._refused:
            return None
        path = self._workspace.root / file
        if not path.exists():
            self._refused[file] = "is missing"
            return None
        try:
            files.refuse_outside(self._workspace.root, path)
            return files.read_json(path, model, part)
        except UnusableInput as error:
            self._refused[file] = str(error).removeprefix(f"{path}: ")
        return None


def named_by(loaded: Sequence[SessionCapsules]) -> SessionCapsules:
    """Return the session of a group that says what its checkpoint is called, whatever order they come in.

    The same weights may have been named by their kind, a hub id and a folder: by its kind everybody finds it again.
    """
    return max(loaded, key=lambda s: (s.kind in KNOWN, s.evidence.started, s.evidence.session))


def _options(session: Session) -> str:
    """Return the options that name a session's checkpoint: by its kind, its hub id, or the folder that it lay in."""
    plan, checkpoint = session.plan, session.plan.checkpoint
    found = ["--checkpoint", checkpoint.kind if checkpoint.kind in KNOWN else session.checkpoint_option]
    if checkpoint.kind == "synthetic":
        found += ["--layers", str(checkpoint.layers)] if checkpoint.layers else []
        found += ["--seed", str(plan.seed)] if plan.seed else []
        found += ["--force"] if plan.backend == "cpu" else []
    if checkpoint.trust_remote_code:
        found.append("--trust-remote-code")
    return shlex.join(found)


def group_of(loaded: Sequence[SessionCapsules], incumbent: str | None) -> GroupEvidence:
    """Return the evidence of sessions of one group."""
    first = named_by(loaded)
    labels = tuple(sorted({session.label for session in loaded}))
    return GroupEvidence(first.key, first.kind, tuple(s.evidence for s in loaded), incumbent, labels)


def everything(reader: Reader, family: str | None) -> dict[GroupKey, list[SessionCapsules]]:
    """Return every finished session by group."""
    groups: dict[GroupKey, list[SessionCapsules]] = {}
    for name in reader.names():
        loaded = reader.session(name)
        if loaded is not None and loaded.capsules and family in (None, loaded.key.family):
            groups.setdefault(loaded.key, []).append(loaded)
    return groups


def deciding(
    reader: Reader, rows: Iterable[MatrixRow], incumbents: Mapping[GroupKey, str], policy: Policy
) -> dict[GroupKey, list[SessionCapsules]]:
    """Return, by group, the sessions that the rule looks at, chosen by the matrix rows."""
    groups: dict[GroupKey, dict[str, list[MatrixRow]]] = {}
    for row in rows:
        groups.setdefault(key_of_row(row), {}).setdefault(row.session, []).append(row)
    return {key: _deciding(reader, key, sessions, incumbents.get(key), policy) for key, sessions in groups.items()}


def _deciding(
    reader: Reader, key: GroupKey, sessions: Mapping[str, list[MatrixRow]], incumbent: str | None, policy: Policy
) -> list[SessionCapsules]:
    """Read sessions, the last to end first, until no other can count.

    The rule orders them by their start, which rows do not say: one that ended after another had begun may be the later
    one, as where two devices measured at once or a session was resumed, and is read too.
    """
    ended = {name: max(datetime.fromisoformat(row.time) for row in rows) for name, rows in sessions.items()}
    chosen: list[SessionCapsules] = []
    judged: dict[str, Sequence[SessionVerdict]] = {}
    for name in sorted(sessions, key=lambda name: (ended[name], name), reverse=True):
        history = _history(chosen, judged)
        wanted = any(ended[name] > other.evidence.started for other in chosen) or any(
            _wanted(rows, history.get(variant, []), variant == incumbent, policy)
            for variant, rows in _by_variant(sessions[name]).items()
        )
        if not wanted:
            continue
        loaded = reader.session(name)
        if loaded is None or loaded.key != key or not loaded.capsules:
            continue
        chosen.append(loaded)
        judged[name] = judge_session(loaded.evidence, policy)
    return chosen


def _history(
    chosen: Sequence[SessionCapsules], judged: Mapping[str, Sequence[SessionVerdict]]
) -> dict[str, list[SessionVerdict]]:
    """Return the verdicts on each variant, latest first as the rule has it."""
    found: dict[str, list[SessionVerdict]] = {}
    for session in sorted((s.evidence for s in chosen), key=lambda s: (s.started, s.session), reverse=True):
        for verdict in judged[session.session]:
            found.setdefault(verdict.variant, []).append(verdict)
    return found


def _wanted(rows: Sequence[MatrixRow], history: Sequence[SessionVerdict], is_incumbent: bool, policy: Policy) -> bool:
    """Whether a session can still change the verdict on a variant whose newer sessions gave `history`."""
    # Other tokens stand against the code under every name, and the latest session in which it said them is told.
    failed = {verdict.identity for verdict in history if verdict.wrong_tokens}
    if not history or any(row.fidelity == "diverged" and row.identity not in failed for row in rows):
        return True
    return _may_count(rows, policy) and not _settled(history, is_incumbent, policy)


def _by_variant(rows: Iterable[MatrixRow]) -> dict[str, list[MatrixRow]]:
    found: dict[str, list[MatrixRow]] = {}
    for row in rows:
        found.setdefault(row.variant, []).append(row)
    return found


def _may_count(rows: Sequence[MatrixRow], policy: Policy) -> bool:
    """Whether a variant's rows of a session can give a valid verdict: every budget, or something that rejects."""
    if {row.tokens for row in rows} >= set(policy.min_blocks):
        return True
    return any(
        row.status != "ok"
        or (row.speedup_high is not None and row.speedup_high < 1)
        or (row.peak_mem_gb or 0.0) > (row.baseline_peak_mem_gb or 0.0)
        for row in rows
    )


def _settled(history: Sequence[SessionVerdict], is_incumbent: bool, policy: Policy) -> bool:
    """Whether older sessions cannot change the verdict; `history` is latest first."""
    valid = [v for v in history if v.valid]
    same = [v for v in valid if v.identity == history[0].identity]
    alike = [v for v in same if v.coverage == same[0].coverage]
    if not alike or (is_incumbent and len(valid) < policy.sessions):
        return False
    run = next((i for i, v in enumerate(alike) if v.verdict != "CANDIDATE"), None)
    if run is None:
        return len(alike) >= policy.sessions_averaged
    return run == 0 or len(alike) >= policy.sessions
