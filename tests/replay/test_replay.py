"""A replay is planned with the capsule's own protocol, or says what it puts in its place; one is run for real."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Made, add_session, make_workspace
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.errors import UnusableInput, ZmlxError
from zmlx_bench.ledger import capsules
from zmlx_bench.machine import facts
from zmlx_bench.replay import measure as replay
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process
VARIANT = "qwen_qkv_joined"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Capsule:
    workspace = make_workspace(tmp_path_factory.mktemp("made") / "workspace")
    session = add_session(workspace, 0, [Made("combine_one", 0.1)], blocks=3)
    return capsules.read(workspace.session(session.session) / "qwen3_tiny_cpu_t20_r3_combine_one.json")


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace()


@pytest.fixture(scope="module")
def capsule(made: Capsule, place: Workspace) -> Capsule:
    """The made capsule as if it had measured a variant that the packaged workspace has, with the tiny checkpoint."""
    digest = locate("qwen3", "tiny", facts.read("cpu")).checkpoint.digest
    return checkpoint(changed(made, variant=Catalog(place, "qwen3").resolve(VARIANT)), digest=digest)


def changed(capsule: Capsule, **fields: Any) -> Capsule:
    """Return a capsule with other fields and the right hash."""
    return capsule.model_copy(update=fields).sealed()


def checkpoint(capsule: Capsule, **fields: Any) -> Capsule:
    return changed(capsule, checkpoint=capsule.checkpoint.model_copy(update=fields))


def test_the_plan_is_the_capsule_s_protocol(place: Workspace, capsule: Capsule) -> None:
    planned = replay.prepare(place, capsule, replay.Overrides(command=("zmlx", "capsule", "replay")))
    plan = planned.prepared.session.plan
    assert planned.instead == ()
    assert [arm.name for arm in plan.arms] == ["baseline", "null", VARIANT]
    assert (plan.tokens, plan.blocks, plan.seed) == ((20,), 3, capsule.protocol.seed)
    assert plan.prompts == capsule.prompts
    planned_variant = plan.arm(VARIANT).variant
    assert planned_variant is not None
    # What was measured long ago may have no identity; what is planned has today's.
    assert planned_variant.model_copy(update={"identity": capsule.variant.identity}) == capsule.variant


def test_the_token_ids_are_those_of_the_capsule(place: Workspace, capsule: Capsule) -> None:
    """Whatever the tokenizer, the clock or the locale would make of the prompts now."""
    planned = replay.prepare(place, capsule, replay.Overrides()).prepared.session.plan
    assert planned.encoded == capsule.encoded is not None


def test_other_weights_or_an_old_capsule_make_them_anew(place: Workspace, capsule: Capsule) -> None:
    for other in (checkpoint(capsule, digest="f" * 64), changed(capsule, encoded=None)):
        planned = replay.prepare(place, other, replay.Overrides()).prepared.session.plan
        assert planned.encoded is not None
        assert planned.encoded != capsule.encoded
        assert list(planned.encoded.token_ids) == [prompt.id for prompt in capsule.prompts.prompt]


def test_the_user_may_ask_for_more_blocks(place: Workspace, capsule: Capsule) -> None:
    planned = replay.prepare(place, capsule, replay.Overrides(runs=9))
    assert planned.prepared.session.plan.blocks == 9


@pytest.mark.parametrize("kind", ["full", "hub", "synthetic"])
def test_a_checkpoint_that_is_not_here_is_replaced_and_said(place: Workspace, capsule: Capsule, kind: str) -> None:
    elsewhere = checkpoint(capsule, kind=kind, source="nobody/nothing@0000000", label=kind)
    if kind == "synthetic":
        elsewhere = changed(elsewhere, machine=capsule.machine.model_copy(update={"backend": "cuda"}))
    planned = replay.prepare(place, elsewhere, replay.Overrides())
    assert planned.prepared.session.plan.checkpoint.kind == "tiny"
    assert any(f"checkpoint {kind} is not possible here" in line for line in planned.instead)


def test_another_backend_is_said(place: Workspace, capsule: Capsule) -> None:
    elsewhere = changed(capsule, machine=capsule.machine.model_copy(update={"backend": "metal"}))
    planned = replay.prepare(place, elsewhere, replay.Overrides())
    assert any("backend metal is not here" in line for line in planned.instead)


def test_a_folder_must_be_named_by_the_user(place: Workspace, capsule: Capsule) -> None:
    folder = checkpoint(capsule, kind="path", source="my-model")
    with pytest.raises(UnusableInput, match="--checkpoint"):
        replay.prepare(place, folder, replay.Overrides())
    assert replay.prepare(place, folder, replay.Overrides(checkpoint="tiny")).prepared.session.plan.blocks == 3


def test_a_variant_that_is_not_declared_here_is_refused(place: Workspace, made: Capsule) -> None:
    with pytest.raises(ZmlxError, match="combine_one"):
        replay.prepare(place, made, replay.Overrides())


@pytest.mark.slow
def test_a_capsule_measured_here_is_replayed_here(
    zmlx: Callable[..., subprocess.CompletedProcess[str]], fresh_workspace: Workspace
) -> None:
    root = fresh_workspace.root
    options = ("--tokens", "8", "--runs", "2", "--variants", VARIANT, "--checkpoint", "tiny", "--prompts", "primes")
    ran = zmlx("run", "qwen3", *options, cwd=root, timeout=900)
    assert ran.returncode == 0, ran.stderr
    path = next(Path(root).glob("capsules/*/qwen3_*.json"))
    done = zmlx("capsule", "replay", str(path), "--json", cwd=root, timeout=900)
    said = json.loads(done.stdout)
    assert said["differences"] == []
    assert said["replay"]["fidelity"] == said["capsule"]["fidelity"]
    assert done.returncode == {"agree": 0, "disagree": 1, "not comparable": 2}[said["answer"]]
    assert zmlx("check", cwd=root).returncode == 0
