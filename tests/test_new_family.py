"""examples/new_family: a family of another shape works in a workspace from three files, whatever is asked of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import tomlkit

from tests import lfm2
from tests.conftest import QUIET_ENV, Zmlx
from tests.docs.blocks import DOCS, blocks
from tests.lfm2 import ATTENTIONS, EXAMPLE, MOE_LAYERS, NAME, SIZES
from tests.prompts import ONE
from tests.tiny import Tiny, equal
from tests.variants import variant
from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import facts
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process
RUN = ("--tokens", "6", "--runs", "1", "--prompts", ONE, "--no-null", "--json")


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the example, its sizes cut so that a CPU can build them, and a checkpoint of them."""
    mx.set_default_device(mx.cpu)
    made = make_workspace("mirror")
    family = lfm2.add(made)
    path = made.families / NAME / "facts.toml"
    declared = tomlkit.parse(path.read_text())
    declared["config"].update(SIZES)  # type: ignore[union-attr]
    declared["memory_gb"] = 0.01
    path.write_text(tomlkit.dumps(declared))
    (made.root / "checkpoint").mkdir()
    lfm2.save(family, made.root / "checkpoint")
    return made


@pytest.fixture(scope="module")
def model(place: Workspace) -> Tiny:
    family = lfm2.loading.load(families.folder(NAME, place))
    loaded, _ = lfm2.load_model(place.root / "checkpoint")
    return Tiny(family, loaded, len(loaded.layers), MOE_LAYERS)


def said(model: Tiny) -> list[mx.array]:
    return [*model.logits(steps=2), *model.logits((9,), 2), *model.logits((9, 8, 7), 1, batch=2)]


def test_it_is_three_files_in_the_places_of_a_workspace() -> None:
    found = {path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*") if path.is_file()}
    code = {path for path in found if not path.endswith((".md", ".pyc"))}
    assert code == {f"families/{NAME}/facts.toml", f"families/{NAME}/family.py", f"variants/{NAME}.toml"}


def test_what_is_published_is_declared(fresh_workspace: Workspace) -> None:
    lfm2.add(fresh_workspace)
    known = families.facts(NAME, fresh_workspace)
    assert families.of_model_type("lfm2_moe", fresh_workspace) == NAME, "it goes before zmlx's own family"
    assert (known.config["num_hidden_layers"], len(known.config["full_attn_idxs"])) == (24, 6)
    assert families.of_model_type("lfm2_moe") == "lfm2_moe"
    assert NAME not in families.names(), "the package itself does not know it"


@pytest.mark.parametrize(
    ("sites", "calls"),
    [
        ("experts=mirror", {"experts": MOE_LAYERS}),
        ("down+combine=mirror", {"down": MOE_LAYERS, "combine": MOE_LAYERS}),
        ("experts+down+combine=mirror", {"experts": MOE_LAYERS, "down": MOE_LAYERS, "combine": MOE_LAYERS}),
        ("combine=moe_combine", {"combine": MOE_LAYERS}),
        ("qkv=qkv_joined", {"qkv": ATTENTIONS}),
        ("residual_norm=mirror", {"residual_norm": 2 * SIZES["num_hidden_layers"]}),
    ],
)
def test_its_composition_has_the_bits_of_mlx_lm(
    place: Workspace, model: Tiny, sites: str, calls: dict[str, int]
) -> None:
    stock = said(model)
    patch = model.patch(variant(NAME, sites), place.kernels)
    try:
        patch.install(count=True)
        assert equal(said(model), stock)
        patch.calls.clear()
        model.logits((9,), 0)
        assert dict(patch.calls) == calls
    finally:
        patch.undo()


@pytest.mark.parametrize("name", Catalog(Workspace(EXAMPLE.parents[1]), "qwen3").kernels)
def test_every_kernel_serves_it_or_says_in_a_sentence_why_not(place: Workspace, model: Tiny, name: str) -> None:
    declared = Catalog(place, NAME).kernels[name].declaration
    state = model.state()
    site = "+".join(declared.sites)
    try:
        model.patch(variant(NAME, f"{site}={name}"), place.kernels).undo()
    except Unavailable as reason:
        said = str(reason)
    else:
        said = "it is served as it is"
    assert len(said.split()) > 3
    assert "object has no attribute" not in said
    assert model.state() == state


def test_a_router_of_another_kind_is_not_served_in_silence(place: Workspace, model: Tiny) -> None:
    says = r"native_router serves a router of kind softmax or .*; this model's is of kind sigmoid_expert_bias"
    with pytest.raises(Unavailable, match=says):
        model.patch(variant(NAME, "router=native_router"), place.kernels)


def test_auto_says_that_it_has_no_tiny_checkpoint(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(place.root / "no cache"))
    cpu = facts.read("cpu")
    with pytest.raises(CannotHere, match="has no tiny checkpoint; use synthetic or full"):
        locate(NAME, "tiny", cpu, workspace=place)
    with pytest.raises(CannotHere, match=r"checkpoint auto: .*has no tiny checkpoint; use synthetic or full"):
        locate(NAME, "auto", cpu, workspace=place)
    found = locate(NAME, "auto", cpu, workspace=place, force=True)
    assert (found.checkpoint.kind, "has no tiny checkpoint" in found.why) == ("synthetic", True)


def measured(zmlx: Zmlx, place: Workspace, *arguments: str) -> dict[str, Any]:
    done = zmlx("run", NAME, *arguments, *RUN, cwd=place.root)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_run_report_and_variants(place: Workspace, zmlx: Zmlx, zmlx_inside: Zmlx) -> None:
    told = measured(zmlx, place, "--checkpoint", str(place.root / "checkpoint"), "--variants", "lfm2_combine,lfm2_qkv")
    rows = [json.loads(line) for line in (place.root / "matrix.jsonl").read_text().splitlines()]
    mine = {row["variant"]: row for row in rows if row["session"] == told["session"]}
    assert {name: (row["status"], row["fidelity"]) for name, row in mine.items()} == {
        "lfm2_combine": ("ok", "identical"),
        "lfm2_qkv": ("ok", "identical"),
    }
    assert "lfm2_combine" in zmlx_inside("report", NAME, cwd=place.root).stdout
    listed = json.loads(zmlx_inside("variants", NAME, "--json", cwd=place.root).stdout)["variants"]
    assert {row["variant"]: row["not_here"] for row in listed}["lfm2_qkv"] is None
    models = json.loads(zmlx_inside("models", "--json", cwd=place.root).stdout)["models"]
    assert [row["title"] for row in models if row["family"] == NAME] == ["LFM2-8B-A1B"] * 2, "no tiny one"


@pytest.mark.slow
def test_a_synthetic_checkpoint_needs_no_trained_one(place: Workspace, zmlx: Zmlx) -> None:
    told = measured(zmlx, place, "--checkpoint", "synthetic", "--force", "--layers", "2", "--variants", "lfm2_combine")
    session = json.loads((place.session(told["session"]) / "session.json").read_text())
    assert (session["plan"]["checkpoint"]["kind"], session["plan"]["checkpoint"]["layers"]) == ("synthetic", 2)


@pytest.mark.slow
def test_kernels_bench(place: Workspace, zmlx: Zmlx) -> None:
    kernels = ("moe_combine.stock", "qkv_joined", "native_router")
    done = zmlx("kernels", "bench", *kernels, "--family", NAME, "--batch", "1", "--backend", "cpu", "--json",
                cwd=place.root)  # fmt: skip
    rows = {row["kernel"]: row for row in json.loads(done.stdout)["rows"]}
    for name in ("moe_combine", "qkv_joined"):
        assert rows[name]["figures"]["differing"] == 0, rows[name]
    assert rows["native_router"]["figures"] is None


def test_generate(place: Workspace, zmlx: Zmlx) -> None:
    checkpoint = ("--checkpoint", str(place.root / "checkpoint"))
    done = zmlx("generate", NAME, *checkpoint, "--variant", "lfm2_combine", "--max-tokens", "4", cwd=place.root)
    assert done.returncode == 0, done.stderr
    assert "lfm2_combine: asked for by name" in done.stderr + done.stdout
    assert "Generation: 4 tokens" in done.stdout


def test_kernels_new_adds_its_variants_to_the_family(
    make_workspace: Callable[..., Workspace], zmlx_inside: Zmlx
) -> None:
    made = make_workspace()
    lfm2.add(made)
    done = zmlx_inside("kernels", "new", "begun", cwd=made.root)
    assert "added begun and begun_fp32 to variants/: any.toml, " in done.stdout
    assert f", {NAME}.toml, " in done.stdout
    resolved = Catalog(made, NAME).resolve("begun")
    assert [use.sites for use in resolved.kernels] == [("combine",)]


def test_a_family_whose_file_is_missing_is_one_line(
    make_workspace: Callable[..., Workspace], zmlx_inside: Zmlx
) -> None:
    made = make_workspace()
    lfm2.add(made)
    (made.families / NAME / "family.py").unlink()
    done = zmlx_inside("run", NAME, cwd=made.root)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "has facts.toml but no family.py" in done.stderr
    shutil.rmtree(made.families / NAME)
    assert "unknown model family 'my_lfm2'" in zmlx_inside("run", NAME, cwd=made.root).stderr


def test_the_guides_commands_run_as_written(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLE.parent)
    lines = [line.text for block in blocks(DOCS / "guide-family.md") if block.mark == "" for line in block.lines]
    assert len(lines) == 5
    environment = {**QUIET_ENV, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lfm2_combine" in done.stdout
    text = (DOCS / "guide-family.md").read_text()
    made = {path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*.*") if path.suffix in (".py", ".toml")}
    assert all(f"`{path}`" in text for path in made)
