"""Kernels that lie: real sessions, and what they make of each liar."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import QUIET_ENV, Zmlx
from tests.hostile.planted import plant
from tests.prompts import ONE
from tests.session.conftest import Finished, finished
from zmlx_bench.ledger.decide import decide
from zmlx_bench.workspace import Workspace

SECRET = "hush-0123456789abcdef"


TOKENS = 24


def session(
    make: Callable[..., Workspace],
    zmlx: Zmlx,
    names: tuple[str, ...],
    *options: str,
    checkpoint: str = "tiny",
    env: dict[str, str] | None = None,
) -> Finished:
    """One block of the planted kernels, under the project's policy with the short budget in the place of its own."""
    workspace = make()
    for name in names:
        plant(workspace, name)
    policy = workspace.variants / "policy.toml"
    policy.write_text(policy.read_text().replace("\n200 = ", f"\n{TOKENS} = ").replace("\n1024 = ", "\n48 = "))
    done = zmlx(
        "run", "qwen3", "--checkpoint", checkpoint, "--tokens", str(TOKENS), "--runs", "1", "--prompts", ONE, *options,
        "--variants", ",".join(names), "--workspace", str(workspace.root), env={**QUIET_ENV, **(env or {})},
    )  # fmt: skip
    return finished(workspace, done)


def diverges(measured: Finished, name: str) -> None:
    capsule = measured.capsule(name)
    assert capsule.status == "ok"
    assert capsule.figures.fidelity is not None
    assert capsule.figures.fidelity.verdict == "diverged"
    assert f"{name} " in measured.done.stdout
    assert "diverged at" in measured.done.stdout
    assert verdict(measured, name) == ("REJECT", "fidelity")


def verdict(measured: Finished, name: str) -> tuple[str, str]:
    decided = decide(measured.workspace, None)
    (found,) = (v for decision in decided.decisions.values() for v in decision.verdicts if v.variant == name)
    return found.verdict, found.reason


def breaks(measured: Finished, name: str, says: str) -> None:
    capsule = measured.capsule(name)
    assert capsule.status == "crash"
    (run,) = capsule.runs.variant
    assert run.generations == ()
    assert (run.message or "").startswith(f"broke the protocol: {says}")
    assert f"{name}: crash: broke the protocol" in measured.done.stderr
    assert verdict(measured, name)[0] in ("REJECT", "INCONCLUSIVE")


@pytest.fixture(scope="module")
def few(make_workspace: Callable[..., Workspace], zmlx: Zmlx, small: str) -> Finished:
    names, env = ("more_afterwards", "tells_secrets"), {"MY_SECRET": SECRET}
    return session(make_workspace, zmlx, names, "--no-null", checkpoint=small, env=env)


def test_tokens_beyond_the_budget_are_no_speed(few: Finished) -> None:
    breaks(few, "more_afterwards", "reported more than the 24 tokens of its budget")


def test_a_secret_of_the_environment_reaches_no_artifact(few: Finished) -> None:
    """The kernel fails with every secret that it can find, in its own environment and in its parent's."""
    capsule = few.capsule("tells_secrets")
    assert capsule.status == "crash"
    assert "MY_SECRET=[MY_SECRET]" in (capsule.runs.variant[0].message or "")
    for path in [few.workspace.matrix, *few.folder.glob("*.json")]:
        assert SECRET not in path.read_text(), path
    assert SECRET not in few.done.stdout + few.done.stderr


@pytest.fixture(scope="module")
def liars(make_workspace: Callable[..., Workspace], zmlx: Zmlx) -> Finished:
    names = ("slow_clock", "backward_clock", "skips_later", "says_it_again", "other_tokens", "twice_as_many", "half")
    return session(make_workspace, zmlx, names)


@pytest.mark.slow
def test_a_clock_that_was_patched_is_seen_by_the_supervisors(liars: Finished) -> None:
    capsule = liars.capsule("slow_clock")
    (timed,) = capsule.runs.variant[0].generations
    assert timed.decode_s == pytest.approx(timed.supervisor_decode_s / 2, rel=0.2)
    assert capsule.figures.clock_disagreement is not None
    assert capsule.figures.clock_disagreement > 0.4
    decided = decide(liars.workspace, None)
    (found,) = (v for d in decided.decisions.values() for v in d.verdicts if v.variant == "slow_clock")
    assert found.verdict == "INCONCLUSIVE"
    (gate,) = (gate for gate in found.latest.gates if gate.id == "clock")
    assert gate.outcome == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skips_later", "says_it_again", "other_tokens"])
def test_work_that_was_not_done_shows_in_the_tokens(liars: Finished, name: str) -> None:
    diverges(liars, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("backward_clock", "its clock ran backwards"),
        ("twice_as_many", "reported more than the 24 tokens of its budget"),
        ("half", "ended primes after 12 of 24 tokens"),
    ],
)
def test_a_report_that_no_honest_process_makes_is_a_crash(liars: Finished, name: str, says: str) -> None:
    breaks(liars, name, says)
