"""Sessions of an upgrade check that hold together, without a process: the stock model there twice, and a variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.builders import Made, add_session
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.plan import Within
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace

WITHIN = Within(stock="in_E", again="in_E_again", asked="fast_in_E", of="fast")
STOCK = Made(WITHIN.stock, gain=-0.2)
"""Slower than the stock model here."""


def ran(
    place: Workspace, asked: Made, stock: Made = STOCK, *, blocks: int = 6, hour: float = 0
) -> tuple[Session, list[tuple[str, Capsule]]]:
    """Return a session with its capsules by path; the gains of `asked` are against the stock model here too."""
    arms = [stock, replace(stock, name=WITHIN.again), replace(asked, name=WITHIN.asked)]
    session = add_session(place, hour, arms, null_arm=False, blocks=blocks)
    session = session.model_copy(update={"plan": session.plan.model_copy(update={"within": WITHIN})})
    paths = [place.session(session.session) / one.file for one in session.capsules]
    return session, [(path.relative_to(place.root).as_posix(), capsule_files.read(path)) for path in paths]


def capsules(found: Sequence[tuple[str, Capsule]]) -> list[Capsule]:
    """Return the capsules without their paths."""
    return [capsule for _, capsule in found]
