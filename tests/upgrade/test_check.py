"""`zmlx upgrade-check` by real sessions in another interpreter: what holds there, what not, and going on after it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUIET_ENV, ZMLX
from tests.from_index import needs
from tests.upgrade.promoting import promote, promotion
from zmlx_bench import exit_codes
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger.check.looks import check_stops
from zmlx_bench.ledger.check.session import read_session
from zmlx_bench.ledger.decide import decide
from zmlx_bench.report.build import build
from zmlx_bench.schema.session import Session
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process


@dataclass
class Checked:
    """A workspace with promotions, and what the command said of them."""

    place: Workspace
    told: dict[str, Any]
    done: subprocess.CompletedProcess[str]

    def of(self, variant: str) -> dict[str, Any]:
        (found,) = (one for one in self.told["promotions"] if one["variant"] == variant)
        return dict(found)

    def session(self, variant: str) -> Session:
        return store.load(self.place, self.of(variant)["session"])


def small(place: Workspace) -> None:
    """Let a block of twelve tokens be enough for the policy, on a machine that does other things too."""
    policy = place.variants / "policy.toml"
    text = re.sub(r"clock_disagreement = .*", "clock_disagreement = 0.9", policy.read_text())
    policy.write_text(text[: text.index("[min_blocks]")] + "[min_blocks]\n12 = 1\n")


def arguments(place: Workspace, *more: str) -> tuple[str, ...]:
    # The same packages by another way in: a Python that has them is an environment of its owner's.
    return (
        "upgrade-check", "--environment", sys.executable, "--at-most", "1", "--prompts", "great_wall",
        "--workspace", str(place.root), *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checked(make_workspace: Callable[..., Workspace], zmlx: Callable[..., Any]) -> Checked:
    place = make_workspace("doubles", "unavailable")
    small(place)
    promote(place, promotion(place, "doubles"), promotion(place, "unavailable", device="Made CPU"))
    done = zmlx(*arguments(place, "--json"), timeout=1200)
    assert done.returncode == exit_codes.NO, done.stderr
    return Checked(place, json.loads(done.stdout), done)


def test_each_promotion_is_measured_or_says_why_not(checked: Checked) -> None:
    said = {one["variant"]: one["said"] for one in checked.told["promotions"]}
    assert said == {"doubles": "fails", "unavailable": "unmeasured"}
    assert checked.told["holds"] is False
    assert checked.of("doubles")["why"].startswith("fidelity: ")
    assert "promoted on Made CPU" in checked.of("unavailable")["why"]
    assert checked.of("doubles")["stock"]["prompt"] is None
    assert checked.of("doubles")["stock"]["speed"] > 0


def test_baseline_and_variant_both_ran_there_and_the_session_is_evidence_of_no_promotion(checked: Checked) -> None:
    session = checked.session("doubles")
    within = session.plan.within
    assert within is not None
    assert [arm.name for arm in session.plan.arms] == ["baseline", within.stock, within.again, within.asked]
    there = [arm.variant for arm in session.plan.arms if arm.variant is not None]
    assert all(one.environment is not None and one.environment.asked == sys.executable for one in there)
    assert [[used.kernel for used in one.kernels] for one in there] == [[], [], ["doubles"]]
    asked = [one.file for one in session.capsules if within.asked in one.file]
    capsule = capsule_files.read(checked.place.session(session.session) / asked[0])
    assert capsule.status == "ok"
    assert capsule.figures.calls_per_token["combine"] > 0
    # Without a null arm of its own environment it can promote nothing.
    found = decide(checked.place, "qwen3")
    assert {one.verdict for group in found.decisions.values() for one in group.verdicts} <= {"INCONCLUSIVE", "REJECT"}
    assert [group.next_runs for group in build(checked.place, "qwen3").groups] == [()], "no run has such arms"


def test_the_sessions_are_checked_like_any_other(checked: Checked, zmlx_inside: Callable[..., Any]) -> None:
    done = zmlx_inside("check", *(str(path) for path in checked.place.capsules.iterdir()), cwd=checked.place.root)
    assert done.returncode == 0, done.stdout
    read = read_session(checked.place.root, checked.place.session(checked.session("doubles").session))
    assert read.session is not None
    assert read.session.stopped is not None
    assert check_stops(checked.place, [read], []) == []
    stopped = read.session.stopped.model_copy(update={"undecided": ("baseline",)})
    wrong = replace(read, session=read.session.model_copy(update={"stopped": stopped}))
    assert {one.field for one in check_stops(checked.place, [wrong], [])} == {"stopped.undecided"}


def test_the_same_command_tells_the_same_and_measures_nothing(
    checked: Checked, zmlx_inside: Callable[..., Any]
) -> None:
    before = sorted(checked.place.capsules.iterdir())
    again = zmlx_inside(*arguments(checked.place, "--json"))
    assert again.returncode == exit_codes.NO
    assert json.loads(again.stdout) == checked.told
    one = zmlx_inside(*arguments(checked.place, "--json", "--family", "glm47"))
    assert (one.returncode, json.loads(one.stdout)["promotions"]) == (exit_codes.DONE, [])
    assert sorted(checked.place.capsules.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--at-most", "0"), "--at-most 0: must be at least 1"),
        (("--seed", "-1"), "--seed -1: must not be negative"),
        (("--family", "nobody"), "nobody"),
        (("--environment", "nowhere/python"), "nowhere/python is no file"),
        (("--environment", "mlx"), "a requirement names a version"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    checked: Checked, zmlx_inside: Callable[..., Any], options: tuple[str, ...], says: str
) -> None:
    done = zmlx_inside(*arguments(checked.place, *options))
    assert done.returncode == exit_codes.UNUSABLE
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_one_that_is_interrupted_goes_on_where_it_was(make_workspace: Callable[..., Workspace], tmp_path: Path) -> None:
    place = make_workspace("sleeps")
    small(place)
    promote(place, promotion(place, "sleeps"))
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([*ZMLX, *arguments(place)], env=QUIET_ENV, stdout=out, stderr=out)
    until = time.monotonic() + 120
    ended = 0
    while ended < 3 and time.monotonic() < until:
        time.sleep(0.5)
        ended = sum(path.read_text().count('"kind":"end"') for path in place.capsules.glob("*/events.jsonl"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == exit_codes.INTERRUPTED, log.read_text()
    (session,) = place.capsules.iterdir()
    assert store.load(place, session.name).state == "running"
    # Whatever was asleep in the variant's process is gone, and what had ended is not measured again.
    done = subprocess.run(
        [*ZMLX, *arguments(place, "--timeout", "5", "--json")],
        env=QUIET_ENV,
        capture_output=True,
        text=True,
        check=False,
    )
    assert [path.name for path in place.capsules.iterdir()] == [session.name]
    assert store.load(place, session.name).resumed == 1
    assert done.returncode in (exit_codes.NO, exit_codes.CANNOT, os.EX_OK), done.stderr


@pytest.mark.slow
def test_a_release_from_the_index_is_checked_against_its_own_stock_model(
    make_workspace: Callable[..., Workspace], zmlx: Callable[..., Any], tmp_path: Path
) -> None:
    needs("mlx", "0.32.3")
    place = make_workspace("no_op", "doubles")
    small(place)
    promote(place, *(promotion(place, name) for name in ("no_op", "doubles")))
    done = zmlx(
        "upgrade-check", "--environment", "mlx==0.32.3", "--at-most", "1", "--prompts", "great_wall", "--json",
        "--workspace", str(place.root), env={**QUIET_ENV, "XDG_CACHE_HOME": str(tmp_path / "cache")}, timeout=1500,
    )  # fmt: skip
    assert done.returncode == exit_codes.NO, done.stderr
    checked = Checked(place, json.loads(done.stdout), done)
    assert {one["variant"]: one["said"] for one in checked.told["promotions"]} == {
        "doubles": "fails",
        "no_op": "undecided",
    }
    within = checked.session("no_op").plan.within
    assert within is not None
    there = [arm.variant for arm in checked.session("no_op").plan.arms if arm.variant is not None]
    assert {one.environment.version("mlx") for one in there if one.environment is not None} == {"0.32.3"}
