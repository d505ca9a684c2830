"""`zmlx run PATH`: a model without a family of its own, from its checkpoint's folder to the verdict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_models
from tests.conftest import Zmlx
from tests.prompts import ONE
from zmlx_bench.workspace import Workspace

RUN = ("--tokens", "6", "--runs", "1", "--prompts", ONE, "--json")


@dataclass
class Ran:
    """A session that was run."""

    place: Workspace
    checkpoint: Path
    told: dict[str, Any]
    said: str

    @property
    def session(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.place.session(self.told["session"]) / "session.json").read_text())
        return found

    def rows(self) -> dict[str, dict[str, Any]]:
        lines = (json.loads(line) for line in self.place.matrix.read_text().splitlines())
        return {row["variant"]: row for row in lines if row["session"] == self.told["session"]}


def run(zmlx: Zmlx, place: Workspace, checkpoint: Path, *more: str) -> Ran:
    done = zmlx("run", str(checkpoint), *RUN, *more, cwd=place.root)
    assert done.returncode == 0, done.stderr
    return Ran(place, checkpoint, json.loads(done.stdout), done.stderr)


@pytest.fixture(scope="module")
def dense(make_workspace: Callable[..., Workspace], zmlx: Zmlx) -> Ran:
    """A dense model, whose tokenizer has no chat template."""
    place = make_workspace()
    folder = tiny_models.save("llama", place.root / "base model")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["chat_template"]
    path.write_text(json.dumps(settings))
    return run(zmlx, place, folder)


def test_everything_that_serves_it_is_measured(dense: Ran) -> None:
    rows = dense.rows()
    assert {"any_qkv_joined", "any_native_linear"} >= rows.keys() >= {"any_qkv_joined"}
    assert {(row["status"], row["fidelity"], row["family"]) for row in rows.values()} == {
        ("ok", "identical", "any-llama")
    }
    arms = {arm["role"] for arm in dense.session["plan"]["arms"]}
    assert arms == {"baseline", "null", "variant"}
    assert "left out: any_native_experts: native_experts: this model has no site experts" in dense.said
    assert not dense.session["plan"]["encoded"]["chat_template"]


def test_what_was_found_is_recorded(dense: Ran) -> None:
    found = {tuple(each["sites"]): each for each in dense.session["sites"] if each["why_not"] is None}
    assert found[("qkv",)]["module"] == "Attention"
    assert found[("qkv",)]["modules"] == 2
    assert found[("qkv",)]["first"] == "model.layers.0.self_attn"
    assert "q_proj 128 x 128, 4 bit affine in 32s" in found[("qkv",)]["sizes"]


def test_check_report_and_promote_read_it(dense: Ran, zmlx_inside: Zmlx) -> None:
    checked = zmlx_inside("check", cwd=dense.place.root)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "any_qkv_joined" in zmlx_inside("report", "any-llama", cwd=dense.place.root).stdout
    decided = zmlx_inside("promote", "any-llama", "--dry-run", cwd=dense.place.root)
    assert "any_qkv_joined" in decided.stdout, decided.stderr
    assert "INCONCLUSIVE" in decided.stdout


def test_a_finished_session_is_found_by_either_name(dense: Ran, zmlx_inside: Zmlx) -> None:
    name = dense.told["session"]
    for family in ("any-llama", str(dense.checkpoint)):
        done = zmlx_inside("run", family, "--resume", name, "--json", cwd=dense.place.root)
        assert json.loads(done.stdout)["session"] == name, done.stderr
    other = zmlx_inside("run", "any-mixtral", "--resume", name, cwd=dense.place.root)
    assert (other.returncode, "is a session of any-llama, not of any-mixtral" in other.stderr) == (3, True)
    copy = Path(shutil.copytree(dense.checkpoint, dense.place.root / "another one"))
    other = zmlx_inside("run", str(copy), "--resume", name, cwd=dense.place.root)
    assert (other.returncode, "otherwise than the checkpoint in FAMILY's place says" in other.stderr) == (3, True)


def test_its_variants_are_listed_by_its_name(dense: Ran, zmlx_inside: Zmlx) -> None:
    told = json.loads(zmlx_inside("variants", "any-llama", "--json", cwd=dense.place.root).stdout)
    assert {row["family"] for row in told["variants"]} == {"any"}
    assert "any_qkv_joined" in {row["variant"] for row in told["variants"]}


def test_sites_are_printed(dense: Ran, zmlx_inside: Zmlx) -> None:
    done = zmlx_inside("models", "--sites", str(dense.checkpoint), "--json", cwd=dense.place.root)
    told = json.loads(done.stdout)
    assert (told["family"], told["sites"]) == ("any-llama", dense.session["sites"])
    reasons = {row["variant"]: row["not_here"] for row in told["variants"]}
    assert reasons["any_qkv_joined"] is None
    assert reasons["any_native_experts"] == "native_experts: this model has no site experts"


def test_generate_with_a_variant(dense: Ran, zmlx: Zmlx) -> None:
    place = dense.place.root
    done = zmlx("generate", str(dense.checkpoint), "--variant", "any_qkv_joined", "--max-tokens", "4", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "any_qkv_joined: asked for by name" in done.stderr + done.stdout
    plain = zmlx("generate", str(dense.checkpoint), "--max-tokens", "4", cwd=place)
    assert "nothing is promoted for any-llama" in plain.stderr + plain.stdout


@pytest.mark.slow
def test_a_mixture_of_experts_in_every_variant(dense: Ran, zmlx: Zmlx) -> None:
    folder = tiny_models.save("mixtral", dense.place.root / "mixture")
    ran = run(zmlx, dense.place, folder)
    assert {(row["status"], row["fidelity"]) for row in ran.rows().values()} == {("ok", "identical")}
    assert ran.rows().keys() == {
        "any_qkv_joined",
        "any_native_linear",
        "any_native_experts",
        "any_native",
        "any_native_moe",
    }
    screened = zmlx("screen", str(folder), "--tokens", "8", "--processes", "1", "--json", cwd=dense.place.root)
    assert "any_native" in screened.stdout, screened.stderr


def refused(zmlx_inside: Zmlx, place: Workspace, folder: Path, *more: str) -> str:
    done = zmlx_inside("run", str(folder), "--tokens", "6", "--runs", "1", *more, cwd=place.root)
    assert done.returncode in (3, 4), done.stderr
    *begun, line = done.stderr.splitlines()
    assert begun in ([], [f"loading {folder.name} to find its sites"]), "what takes long is told before it may fail"
    return str(line)


def test_what_cannot_be_measured_is_one_line(dense: Ran, zmlx_inside: Zmlx, tmp_path: Path) -> None:
    before = sorted(dense.place.capsules.glob("*"))
    copy = Path(shutil.copytree(dense.checkpoint, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "no_such_thing"}))
    assert "mlx-lm does not load it: ValueError: Model type no_such_thing not supported; mend" in refused(
        zmlx_inside, dense.place, copy
    )
    (copy / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    assert "mlx-lm does not load it: ValueError" in refused(zmlx_inside, dense.place, copy)
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "tokenizer.json").unlink()
    assert "has no tokenizer.json, nor any other file" in refused(zmlx_inside, dense.place, copy)
    assert sorted(dense.place.capsules.glob("*")) == before, "nothing is left of them"


@pytest.mark.slow
def test_a_variant_asked_for_by_name_is_recorded_as_unavailable(dense: Ran, zmlx: Zmlx) -> None:
    ran = run(zmlx, dense.place, dense.checkpoint, "--variants", "any_native_experts", "--no-null")
    assert ran.rows()["any_native_experts"]["status"] == "unavailable"
