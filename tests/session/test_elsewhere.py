"""Arms in another environment: the same blocks, fidelity and figures, by an interpreter that has nothing of zmlx."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Zmlx
from tests.prompts import TWO
from tests.pythons import changed_mlx_lm, python
from tests.session.conftest import Finished, finished
from tests.wheels import MLX, MLX_LM
from zmlx_bench import workspace as workspaces
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.machine import facts
from zmlx_bench.report import listings
from zmlx_bench.report.build import build
from zmlx_bench.schema.event import Loaded
from zmlx_bench.session import api, elsewhere, planned
from zmlx_bench.session.request import Request
from zmlx_bench.session.tally import BrokenProtocol
from zmlx_bench.use import decide
from zmlx_bench.use.decide import NotChosen
from zmlx_bench.workspace import Workspace

QWEN = "models/qwen3_moe.py"
CHANGED = {QWEN: ("y = (y * scores[..., None]).sum(axis=-2)", "y = (y * scores[..., None] * 0).sum(axis=-2)")}
DECLARED = """
[variant.stock_there]
why = "whether the same versions in another environment are like a null arm"
environment = "same"

[variant.joined_there]
why = "whether a kernel runs in another environment"
environment = "same"
kernels = { qkv = "qkv_joined" }
"""


def make(folder: Path) -> Workspace:
    """Make a workspace with environments: the same packages, a changed mlx-lm, and one that lacks the model."""
    workspace = workspaces.create(folder / "ws")
    pythons = {
        "same": python(folder / "same"),
        "changed": python(folder / "changed", changed_mlx_lm(folder / "one", CHANGED)),
        "lacking": python(folder / "lacking", changed_mlx_lm(folder / "two", {QWEN: None})),
    }
    tables = (f'[environment.{name}]\npython = "{path}"\n' for name, path in pythons.items())
    (workspace.variants / "environments.toml").write_text("".join(tables))
    with (workspace.variants / "qwen3.toml").open("a") as file:
        file.write(DECLARED)
    return workspace


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, zmlx: Callable[..., Any], small: str) -> Finished:
    """One session of five arms in four environments."""
    workspace = make(tmp_path_factory.mktemp("elsewhere"))
    done = zmlx(
        "run", "qwen3", "--checkpoint", small, "--tokens", "8", "--runs", "1", "--no-null", "--prompts",
        TWO, "--variants", "stock_there,joined_there", "--environment", "changed",
        "--environment", "lacking", "--workspace", str(workspace.root),
    )  # fmt: skip
    return finished(workspace, done)


def test_the_same_versions_in_another_environment_give_the_same_tokens(seen: Finished) -> None:
    capsule = seen.capsule("stock_there")
    assert capsule.status == "ok"
    assert capsule.figures.fidelity is not None
    assert capsule.figures.fidelity.verdict == "identical"
    assert capsule.variant.kernels == ()
    environment = capsule.variant.environment
    assert environment is not None
    assert (environment.asked, environment.version("mlx"), environment.version("mlx_lm")) == ("same", MLX, MLX_LM)
    assert environment.digest == environment.digest_of()
    assert str(seen.workspace.root.parent) not in environment.model_dump_json(), "where it lies is its owner's"


def test_a_kernel_runs_there_too(seen: Finished) -> None:
    capsule = seen.capsule("joined_there")
    assert capsule.figures.fidelity is not None
    assert capsule.figures.fidelity.verdict == "identical"
    assert capsule.figures.calls_per_token["qkv"] > 0
    assert capsule.variant.environment == seen.capsule("stock_there").variant.environment


def test_a_changed_mlx_lm_is_found_by_its_tokens_with_the_baselines_margin(seen: Finished) -> None:
    capsule = seen.capsule("in_changed")
    assert capsule.figures.fidelity is not None
    assert capsule.figures.fidelity.verdict == "diverged"
    assert any(prompt.baseline_margin is not None for prompt in capsule.figures.fidelity.prompts)
    mine, same = capsule.variant.environment, seen.capsule("stock_there").variant.environment
    assert mine is not None
    assert same is not None
    assert mine.packages["mlx"] == same.packages["mlx"]
    assert mine.packages["mlx_lm"].sha256 != same.packages["mlx_lm"].sha256


def test_a_version_that_lacks_something_is_unavailable_with_what_it_lacks(seen: Finished) -> None:
    capsule = seen.capsule("in_lacking")
    assert capsule.status == "unavailable"
    (run,) = capsule.runs.variant
    assert run.message is not None
    assert "No module named 'mlx_lm.models.qwen3_moe': this environment lacks it" in run.message


def test_every_process_ran_in_its_own_environment_with_this_room(seen: Finished) -> None:
    arms = {job.id: job.arm for job in seen.session.plan.jobs}
    opened = {arms[e["job"]]: e["event"]["files"] for e in seen.events() if e.get("event", {}).get("event") == "opened"}
    room = str(Path(workspaces.__file__).resolve().parent / "measured")
    for arm in ("stock_there", "joined_there", "in_changed"):
        assert any(file.startswith(room) for file in opened[arm]), "files are named by where they lie"
    assert list(Path(tempfile.gettempdir()).glob("zmlx-room-*/zmlx_bench/schema")) == []


def test_it_is_checked_and_reported_as_any_session(seen: Finished) -> None:
    checked = check_workspace(seen.workspace, processes=1)
    assert checked.findings == ()
    (group,) = build(seen.workspace, "qwen3").groups
    assert group.key.mlx == MLX
    cells = {line.variant: line.cells[0].environment for line in group.lines}
    (again,) = (command for command in group.next_runs if "--until-decided" in command)
    # What changed is decided: its tokens differ; and no number of blocks brings what is lacking.
    assert "--variants joined_there,stock_there --until-decided" in again
    assert cells == {"stock_there": "same", "joined_there": "same", "in_changed": "changed", "in_lacking": "lacking"}


def test_an_edited_environment_is_named(seen: Finished, tmp_path: Path) -> None:
    from tests.sealing import resealed
    from zmlx_bench.ledger.check.capsule import check_capsule
    from zmlx_bench.schema.capsule import Capsule

    (path,) = seen.folder.glob("*_stock_there.json")
    content = json.loads(path.read_text())
    content["variant"]["environment"]["packages"]["mlx"]["version"] = "9.9"
    edited = Capsule.model_validate(resealed(content))
    found = [one.field for one in check_capsule(edited, f"capsules/{seen.session.session}/{path.name}")]
    assert "variant.environment.digest" in found


def test_the_session_can_be_opened_again_with_its_environments(seen: Finished) -> None:
    asked = Request("qwen3", variants=["joined_there", "stock_there"], environments=["lacking", "changed"])
    planned.check(seen.workspace, seen.session, asked, {"variants", "environment"}, "--resume")
    again = api.reopen(seen.workspace, seen.session.session)
    assert {text: made.environment.digest for text, made in again.ground.made.items()} == {
        arm.variant.environment.asked: arm.variant.environment.digest
        for arm in seen.session.plan.arms
        if arm.variant is not None and arm.variant.environment is not None
    }
    again.release()


def test_an_environment_that_changed_since_is_no_longer_the_planned_one(seen: Finished) -> None:
    catalog = Catalog(seen.workspace, "qwen3")
    plan = seen.session.plan
    (there,) = (arm.variant for arm in plan.arms if arm.name == "stock_there")
    assert there is not None
    found = elsewhere.again(catalog, plan)
    assert catalog.identify(elsewhere.as_now(catalog, "stock_there", found), "cpu") == there
    other = {"same": found["changed"]}
    assert catalog.identify(elsewhere.as_now(catalog, "stock_there", other), "cpu").identity != there.identity
    assert catalog.identify(elsewhere.as_now(catalog, "stock_there", {}), "cpu").identity != there.identity


def test_what_needs_another_environment_is_not_applied_and_says_so(seen: Finished, zmlx_inside: Zmlx) -> None:
    with pytest.raises(NotChosen, match="joined_there cannot be applied: it needs the environment same"):
        decide.by_name(seen.workspace, "qwen3", "joined_there", facts.read("cpu"))
    options = ("--checkpoint", "tiny", "--variant", "stock_there", "--workspace", str(seen.workspace.root))
    done = zmlx_inside("generate", "qwen3", *options, "--prompt", "hi")
    assert done.returncode != 0
    assert "it needs the environment same" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_process_of_other_versions_than_its_environment_has_breaks_the_protocol(seen: Finished) -> None:
    arms = {arm.name: arm for arm in seen.session.plan.arms}
    told = Loaded(load_s=1.0, mlx=MLX, mlx_lm="9.9")
    elsewhere.check(arms["baseline"], told)
    with pytest.raises(BrokenProtocol, match=f"runs mlx_lm 9.9, and its environment has {MLX_LM}"):
        elsewhere.check(arms["stock_there"], told)


def test_a_variant_whose_environment_is_not_made_is_listed_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    workspace = workspaces.create(tmp_path / "ws")
    (workspace.variants / "environments.toml").write_text('[environment.old]\nrequirements = ["mlx==0.1"]\n')
    with (workspace.variants / "qwen3.toml").open("a") as file:
        file.write('\n[variant.before]\nwhy = "why"\nenvironment = "old"\ndefault = false\n')
    row = next(row for row in listings.variants(workspace, "qwen3") if row["variant"] == "before")
    assert (row["environment"], row["kernels"]) == ("old", {})
    assert row["not_here"] == "its environment is not made: zmlx environments make old"
    catalog = Catalog(workspace, "qwen3")
    assert elsewhere.not_made(catalog, catalog.resolve("before")) == row["not_here"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mlx==0.32.3", "in_mlx-0.32.3"),
        ("mlx==0.32.3,mlx-lm>=0.31", "in_mlx-0.32.3-mlx-lm-0.31"),
        ("../fork/.venv/bin/python3.12", "in_fork"),
        ("/usr/bin/python", "in_usr"),
        ("nightly", "in_nightly"),
    ],
)
def test_an_environments_arm_is_called_by_what_was_asked_for(text: str, name: str) -> None:
    assert elsewhere.name_of(text) == name


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('environment = "nowhere"', "variant.odd.environment: 'nowhere' is not in environments.toml"),
        ("", "variant.odd.kernels: names no kernel"),
    ],
)
def test_a_variant_that_names_no_environment_of_the_workspace_is_refused(tmp_path: Path, table: str, says: str) -> None:
    workspace = workspaces.create(tmp_path / "ws")
    with (workspace.variants / "qwen3.toml").open("a") as file:
        file.write(f'\n[variant.odd]\nwhy = "why"\n{table}\n')
    with pytest.raises(UnusableInput, match=says.replace(".", r"\.")):
        Catalog(workspace, "qwen3")
