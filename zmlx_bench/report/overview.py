"""What a report says, as values: every group's variants ranked, its recommendation, rejects, and what is undecided."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic_core import to_jsonable_python

from zmlx_bench.analysis.decision import Gate, GroupDecision, GroupKey, GroupVerdict
from zmlx_bench.analysis.decision.adapter import key_of_row
from zmlx_bench.analysis.ratios import whole
from zmlx_bench.catalog import verified
from zmlx_bench.ledger.evidence_reader import KNOWN, SessionCapsules, named_by
from zmlx_bench.printable import clean
from zmlx_bench.protocol.looks import AT_MOST
from zmlx_bench.report import words
from zmlx_bench.report.measures import Measure, beside, of_figures
from zmlx_bench.schema.figures import Figures
from zmlx_bench.schema.matrix import MatrixRow, row_of
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.verification import Verification
from zmlx_bench.session.elsewhere import name_of

_FINAL = ("checkpoint", "environment", "near_stock_top1")
"""Why a verdict stays what it is, however often the variant is measured."""
FiguresOf = Callable[[str], Figures]
"""All of the capsule at a path in the workspace, also what it does not say itself."""


@dataclass(frozen=True)
class Line:
    """A variant of a group."""

    variant: str
    session: str
    cells: tuple[MatrixRow, ...]
    """What the session that is shown measured, by budget, ascending."""
    verdict: str | None
    """Null where its capsules are not here."""
    reason: str | None
    why: str | None
    blocks_needed: int | None = None
    blocks_capped: bool = False
    sessions: tuple[str, ...] = ()
    """What the verdict rests on."""
    gates: tuple[Gate, ...] = ()
    audit: str | None = None
    """What the audit of the session says; no verdict rests on it but that of a near variant."""
    measures: Mapping[int, tuple[Measure, ...]] = field(default_factory=dict)
    """What was measured beside decode speed, by budget; nothing where its capsules are not here."""
    kernels: tuple[str, ...] = ()
    """`kernel.mode` of what was measured; none where its capsules are not here."""
    verified: str | None = None
    """When `zmlx kernels verify` last found those kernels, as they were measured, to be what they declare on the
    group's device and versions; null for never. No verdict rests on it."""
    behind: bool = False
    """Whether the session that is shown found it slower than what became the default."""
    by_upgrade_check: bool = False
    """Whether the session that is shown asked if a promotion holds in another environment."""
    breaks_word: str | None = None
    """Where it was rejected for its tokens though all its kernels say that they repeat stock: how to find which do
    not."""

    @property
    def near(self) -> bool:
        """Whether the variant was declared to be near when it was measured."""
        return any(cell.held_to == "near" for cell in self.cells)


@dataclass(frozen=True)
class GroupOverview:
    """One group."""

    key: GroupKey
    checkpoint: str
    """Short name of the checkpoint."""
    sessions: int
    recommended: str | None
    """Null is the stock model."""
    promoted: str | None
    """What `promoted.toml` says now."""
    action: str
    recommendation: str
    lines: tuple[Line, ...]
    """Best first."""
    next_runs: tuple[str, ...]
    """Commands for what another session can confirm, and for what more blocks can decide."""
    covering: str | None = None
    """What is applied here though nothing was promoted: by a promotion that did not record what tells groups apart."""

    @property
    def doubt(self) -> str | None:
        """What speaks against a default that stays one until more sessions say so; None where nothing does."""
        default = self.promoted or self.covering
        line = next((one for one in self.lines if one.variant == default), None)
        if line is None or line.verdict != "REJECT" or self.recommended != self.promoted:
            return None
        stays = "it stays the default until more sessions reject it"
        if self.promoted is None:
            stays = "it is the default here by a promotion of hosts whose cores were not recorded, and stays so"
        if line.reason == "fidelity" and all(cell.fidelity == "identical" for cell in line.cells):
            # Its code failed under another name, in a session that is not the one shown.
            return f"{line.variant} is {line.why}; {stays}"
        what = "said other tokens than the model" if line.reason == "fidelity" else f"was rejected ({line.reason})"
        return f"{line.variant} {what} in session {', '.join(line.sessions)}: {stays}"

    @property
    def near(self) -> tuple[Line, ...]:
        """What is held to be near in the place of every token: apart, for no default comes of it."""
        return tuple(line for line in self.lines if line.near)

    @property
    def rejected(self) -> tuple[Line, ...]:
        """The reject list."""
        return tuple(line for line in self.lines if line.verdict == "REJECT" and not line.near)

    @property
    def closed(self) -> str | None:
        """Why nothing that is measured now decides what is undecided here; None where it may."""
        if not self.undecided or self.key.cores is not None:
            return None
        return "its sessions did not record how many cores they had; what is measured now is a group of its own"

    @property
    def undecided(self) -> tuple[Line, ...]:
        """What is not decided yet."""
        open_ = (None, "INCONCLUSIVE", "CANDIDATE")
        return tuple(line for line in self.lines if line.verdict in open_ and not line.near and not line.behind)

    @property
    def behind(self) -> tuple[Line, ...]:
        """What is faster than stock, and was slower than the default in the same blocks: nobody need ask again."""
        return tuple(line for line in self.lines if line.behind)


def overview(
    evidence: Mapping[GroupKey, Sequence[SessionCapsules]],
    decisions: Mapping[GroupKey, GroupDecision],
    incumbents: Mapping[GroupKey, str],
    policy: Policy,
    figures_of: FiguresOf,
    rows: Iterable[MatrixRow] = (),
    verifications: Sequence[Verification] = (),
) -> tuple[GroupOverview, ...]:
    """Return the groups of the evidence and of the matrix; rows whose capsules are not here show without a verdict.

    `figures_of` is asked for those of capsules that do not say all of them.
    """
    by_group: dict[GroupKey, list[MatrixRow]] = {key: [] for key, found in evidence.items() if found}
    for row in rows:
        by_group.setdefault(key_of_row(row), []).append(row)

    def group(key: GroupKey) -> GroupOverview:
        covering = next((name for of, name in incumbents.items() if of.covers(key)), None)
        default = incumbents.get(key), None if key in incumbents else covering
        loaded, decision = evidence.get(key, ()), decisions.get(key)
        return _group(key, loaded, decision, default, by_group[key], policy, figures_of, verifications)

    return tuple(group(key) for key in sorted(by_group, key=lambda key: key.order))


def _group(
    key: GroupKey,
    loaded: Sequence[SessionCapsules],
    decision: GroupDecision | None,
    default: tuple[str | None, str | None],
    rows: Sequence[MatrixRow],
    policy: Policy,
    figures_of: FiguresOf,
    verifications: Sequence[Verification],
) -> GroupOverview:
    promoted, covering = default
    place = verified.Place(key.backend, key.device, key.mlx, key.mlx_lm)
    there = partial(verified.last, verifications, place=place)
    lines = {v.variant: _judged(v, loaded, policy, figures_of, there) for v in decision.verdicts} if decision else {}
    for line in _unjudged(row for row in rows if row.variant not in lines):
        lines[line.variant] = line
    action = decision.action if decision else "none"
    recommended = decision.recommended if decision else None
    why = decision.why if decision else "the capsules behind these rows are not here"
    label = named_by(loaded).label if loaded else rows[0].checkpoint
    ranked = tuple(sorted(lines.values(), key=_rank))
    kept = promoted or covering if promoted == recommended else None
    return GroupOverview(
        key=replace(key, device=clean(key.device), mlx=clean(key.mlx), mlx_lm=key.mlx_lm and clean(key.mlx_lm)),
        checkpoint=label,
        sessions=len({row.session for row in rows} | {s.evidence.session for s in loaded}),
        recommended=recommended,
        promoted=promoted,
        action=action,
        recommendation=_recommendation(recommended, promoted, action, why),
        lines=ranked,
        next_runs=tuple(_next_runs(key, _options(loaded, label), ranked, policy, kept)),
        covering=covering,
    )


def _judged(
    verdict: GroupVerdict,
    loaded: Sequence[SessionCapsules],
    policy: Policy,
    figures_of: FiguresOf,
    last_verified: Callable[..., str | None],
) -> Line:
    session = next(s for s in loaded if s.evidence.session == verdict.latest.session)
    mine = {path: c for path, c in session.capsules.items() if c.variant.name == verdict.variant}
    cells = [row_of(capsule) for capsule in mine.values()]
    audits = [c.audit for c in mine.values() if c.audit is not None]
    any_of_it = next(iter(mine.values()))
    variant, backend = any_of_it.variant, any_of_it.machine.backend
    parts = next(arm.parts for arm in session.evidence.arms if arm.variant == verdict.variant)
    upgrade = session.evidence.within is not None
    wrong_tokens = verdict.verdict == "REJECT" and verdict.reason == "fidelity" and not upgrade
    return Line(
        variant=verdict.variant,
        session=verdict.latest.session,
        cells=tuple(sorted(cells, key=lambda cell: cell.tokens)),
        verdict=verdict.verdict,
        reason=verdict.reason,
        why=verdict.why,
        blocks_needed=verdict.latest.blocks_needed,
        blocks_capped=verdict.latest.blocks_capped,
        sessions=verdict.rests_on,
        gates=verdict.gates,
        audit=words.audit(audits[0], policy.near_stock_top1) if audits else None,
        measures={
            c.tokens: beside(of_figures(c.figures if whole(c.figures) else figures_of(path)))
            for path, c in mine.items()
            if c.status == "ok"
        },
        kernels=tuple(f"{use.kernel}.{use.mode}" for use in variant.kernels),
        behind=verdict.behind,
        by_upgrade_check=upgrade,
        breaks_word=words.breaks_word(variant, backend) if wrong_tokens else None,
        verified=last_verified(variant=variant, kernels={} if parts is None else parts.kernels),
    )


def _unjudged(rows: Iterable[MatrixRow]) -> Iterable[Line]:
    newest: dict[str, list[MatrixRow]] = {}
    for row in rows:
        known = newest.setdefault(row.variant, [])
        if known and (row.time, row.session) > (known[0].time, known[0].session):
            known.clear()
        if not known or row.session == known[0].session:
            known.append(row)
    for variant, found in newest.items():
        cells = tuple(sorted(found, key=lambda cell: cell.tokens))
        yield Line(variant, found[0].session, cells, None, None, None)


def _rank(line: Line) -> tuple[int, float, str]:
    """Rank by the slower budget; text that is not the baseline's, and what did not run, come later, what is held to be
    near last."""
    if line.near:
        place = 3
    elif any(cell.status != "ok" for cell in line.cells):
        place = 2
    else:
        place = int(any(cell.fidelity != "identical" for cell in line.cells))
    return place, -min((cell.speedup or 0.0 for cell in line.cells), default=0.0), line.variant


def _options(loaded: Sequence[SessionCapsules], label: str) -> str | None:
    """Return the options that name a group's checkpoint; None where rows alone tell of it, by a name of its folder."""
    if loaded:
        return named_by(loaded).options
    return f"--checkpoint {label}" if label in KNOWN else None


def _next_runs(
    key: GroupKey, options: str | None, lines: Sequence[Line], policy: Policy, kept: str | None
) -> Iterator[str]:
    """Yield the command that repeats what was found, of `kept`, the default that stays, a rejection too, then the one
    that goes on until the others are decided.

    Nothing where cores were not recorded: every session records them now, and so makes a group of its own.
    """
    if options is None or key.cores is None:
        return
    tokens = " ".join(f"--tokens {budget}" for budget in sorted(policy.min_blocks))
    start = " ".join([f"zmlx run {key.family} {options} --backend {key.backend} {tokens}", *key.conditions.options])
    least = max(policy.min_blocks.values())
    found = [line for line in lines if line.verdict == "CANDIDATE" and line.reason not in _FINAL and not line.behind]
    found += [line for line in lines if line.variant == kept and line.verdict == "REJECT"]
    # `zmlx run` knows no arm of an upgrade check, and no number of blocks mends what crashed.
    known = [line for line in lines if not line.by_upgrade_check and all(cell.status == "ok" for cell in line.cells)]
    open_ = [line for line in known if line.verdict == "INCONCLUSIVE" and line.reason not in _FINAL]
    unsure = [line for line in open_ if not line.blocks_capped]
    if found:
        blocks = max(least, *(cell.blocks for line in found for cell in line.cells))
        yield f"{start} {_arms(found)} --runs {blocks}"
    for held, prompts in ((False, ""), (True, " --prompts near")):
        if alike := [line for line in unsure if line.near is held]:
            most = max(AT_MOST, *(line.blocks_needed or 0 for line in alike))
            yield f"{start} {_arms(alike)}{prompts} --until-decided --at-most {most}"


def _arms(lines: Sequence[Line]) -> str:
    """Return the options that name variants, and environments in which the stock model was measured."""
    asked = {line.variant: cell.environment for line in lines for cell in line.cells if cell.environment is not None}
    bare = {name: text for name, text in asked.items() if name_of(text) == name}
    names = ",".join(sorted(line.variant for line in lines if line.variant not in bare))
    variants = [f"--variants {names}"] if names else []
    return " ".join([*variants, *(f"--environment {shlex.quote(text)}" for _, text in sorted(bare.items()))])


def _recommendation(recommended: str | None, promoted: str | None, action: str, why: str) -> str:
    told = f"{recommended or 'the stock model'}: {why}"
    if action == "promote" and recommended != promoted:
        return f"{told}; `zmlx promote` makes it the default"
    if action == "demote" and promoted is not None:
        return f"{told}; `zmlx promote` withdraws the default"
    return told


def as_json(groups: Sequence[GroupOverview]) -> list[dict[str, Any]]:
    """Return the groups as plain values, with the lists that a reader would make of them."""
    found = []
    for group in groups:
        plain = to_jsonable_python(group)
        key = plain.pop("key")
        found.append(
            {
                **key,
                "checkpoint_digest": key["checkpoint"],
                **plain,
                "rejected": [line.variant for line in group.rejected],
                "undecided": [line.variant for line in group.undecided],
                "behind": [line.variant for line in group.behind],
                "near": [line.variant for line in group.near],
                "doubt": group.doubt,
                "closed": group.closed,
            }
        )
    return found
