"""Arms that crash, hang, are killed or never run their kernel: told apart, and the session goes on."""

from __future__ import annotations

import pytest

from tests.session.conftest import Finished
from tests.small import LAYERS
from zmlx_bench.ledger import matrix


@pytest.mark.parametrize(
    ("variant", "status", "says"),
    [
        ("raises", "crash", "ValueError: planted in bind"),
        ("raises_late", "crash", "RuntimeError: planted in decode"),
        ("killed", "crash", "killed by SIGKILL"),
        ("sleeps", "timeout", "silent for 12 s while warming up"),
        ("shy", "unavailable", "the kernel at combine was never called while decoding"),
        ("memory", "oom", "Unable to allocate"),
    ],
)
def test_how_an_arm_failed_is_told(with_failures: Finished, variant: str, status: str, says: str) -> None:
    capsule = with_failures.capsule(variant)
    assert capsule.status == status
    (run,) = capsule.runs.variant
    assert run.generations == ()
    assert says in (run.message or "").splitlines()[0]
    assert f"{variant}: {status}" in with_failures.done.stderr
    assert capsule == capsule.sealed()


def test_a_failed_arm_has_no_figures_and_no_zeros(with_failures: Finished) -> None:
    figures = with_failures.capsule("killed").figures
    assert (figures.decode_tok_s, figures.speedup, figures.fidelity, figures.latency) == (None, None, None, None)
    assert figures.memory.peak_mem_gb is None
    assert figures.baseline_decode_tok_s is not None


def test_the_arm_that_works_is_measured_all_the_same(with_failures: Finished) -> None:
    capsule = with_failures.capsule("no_op")
    assert capsule.status == "ok"
    assert capsule.figures.fidelity is not None
    assert capsule.figures.fidelity.verdict == "identical"
    assert capsule.figures.calls_per_token == {"combine": LAYERS}
    assert capsule.figures.null is None


def test_every_failure_has_its_matrix_row(with_failures: Finished) -> None:
    rows = {row.variant: row.status for row in matrix.read(with_failures.workspace.matrix)}
    assert rows == {
        "no_op": "ok", "raises": "crash", "raises_late": "crash", "killed": "crash", "sleeps": "timeout",
        "shy": "unavailable", "memory": "oom",
    }  # fmt: skip


def test_the_table_ranks_what_ran_first_and_names_each_failure(with_failures: Finished) -> None:
    text = with_failures.done.stdout
    assert text.index("no_op") < min(text.index(name) for name in ("raises", "killed", "sleeps", "shy", "memory"))
    assert "killed: crash: killed by SIGKILL" in text
    assert "no null arm: the floor of this machine is unknown" in text
