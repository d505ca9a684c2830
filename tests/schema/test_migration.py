"""Every schema version that ever landed stays readable: one workspace of each under `tests/data/schema/v<N>`, and
under `landed` one artifact of each shape that the repository's history holds.

When a format changes, its model gets one more update, a workspace of the new version is added here, and the old ones
stay as they are. A folder is never edited.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Zmlx
from tests.sealing import resealed
from zmlx_bench import files
from zmlx_bench.checkpoints import digest, folder
from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.cli.artifacts import KINDS
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import matrix, promotions
from zmlx_bench.ledger.check.capsule import check_capsule_file
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide
from zmlx_bench.ledger.evidence import read_evidence
from zmlx_bench.ledger.evidence_reader import Reader, everything, read_policy
from zmlx_bench.machine import facts
from zmlx_bench.report.build import build
from zmlx_bench.schema.base import StrictModel
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.document import newest, updated
from zmlx_bench.schema.matrix import MatrixRow, row_of
from zmlx_bench.schema.migrations.checkpoints import DIGESTS
from zmlx_bench.schema.session import Session
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "schema"
LANDED = {
    "landed": "1e2d2b57621b40d1e615623912d6d9c0eb733d37dde6ca7570a549000729ae56",
    "v1": "291caf7be4133b1d224758f79d95bd4d0e39f748682590342362f363033fbe09",
    "v2": "3412dc3c2ca9efba44968b6fe1910d6240d46ad91206d4bbf824ceae56e6e9a7",
}
"""Hash over the files of each folder, so that none is edited to suit a newer reader."""
VERSIONED: tuple[type[StrictModel], ...] = (Capsule, Session, MatrixRow)
CAPSULES = sorted((DATA / "landed" / "capsules").glob("*/*_*.json"))
SESSIONS = sorted((DATA / "landed" / "capsules").glob("*/session.json"))


def hash_of(where: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(p for p in where.rglob("*") if p.is_file()):
        found.update(f"{path.relative_to(where).as_posix()}\0".encode() + path.read_bytes())
    return found.hexdigest()


@pytest.fixture(params=["v1", "v2"])
def landed(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    shutil.copytree(DATA / request.param, tmp_path / "workspace")
    (tmp_path / "workspace" / "kernels").mkdir()
    return Workspace(tmp_path / "workspace")


def test_every_version_has_its_folder_as_it_landed() -> None:
    assert {f"v{n}" for n in range(1, max(map(newest, VERSIONED)) + 1)} <= set(LANDED)
    assert {path.name for path in DATA.iterdir()} == set(LANDED)
    assert {name: hash_of(DATA / name) for name in LANDED} == LANDED


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_version_that_a_format_writes_is_the_one_that_its_updates_lead_to(kind: str) -> None:
    model = KINDS[kind]
    if "schema_version" in model.model_fields:
        version = model.model_json_schema()["properties"]["schema_version"]["const"]
        assert version == newest(model)


def test_it_holds_and_is_decided_from(landed: Workspace) -> None:
    checked = check_workspace(landed)
    assert checked.findings == ()
    assert (checked.sessions, checked.rows) == (2, checked.capsules)
    assert checked.capsules >= 4
    decided = decide(landed, None)
    assert decided.refusals == ()
    # What was promoted under an earlier rule and is so under the present one stands under that from then on.
    rules = {"promotion": tuple(p.model_copy(update={"rule": 1}) for p in decided.after.promotion)}
    assert decided.after.model_copy(update=rules) == decided.before
    assert build(landed, None).groups


def test_every_artifact_of_it_is_read(landed: Workspace, zmlx_inside: Zmlx) -> None:
    rows = matrix.read(landed.matrix)
    for row in rows:
        assert read_evidence(landed.root / row.capsule).schema_version <= newest(Capsule)
        assert store.load(landed, row.session).state == "finished"
    shown = zmlx_inside("capsule", "show", str(landed.root / rows[0].capsule))
    assert shown.returncode == 0
    assert rows[0].variant in shown.stdout
    assert "EDITED" not in shown.stdout


def test_version_1_has_capsules_from_before_there_was_an_audit_and_after() -> None:
    texts = [path.read_text() for path in (DATA / "v1" / "capsules").glob("*/*.json")]
    assert {'"audit":' in text for text in texts} == {True, False}


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.parent.name)
def test_every_shape_of_a_session_is_as_it_was_sealed(path: Path) -> None:
    session = files.read_json(path, Session)
    assert session.intact
    assert session.plan.algorithm == 1
    assert session.plan.blocks == json.loads(path.read_text())["plan"]["runs"]
    assert session.plan.conditions.model_dump() == {"context": None, "batch": 1, "kv_bits": None, "max_kv_size": None}


@pytest.mark.parametrize("path", CAPSULES, ids=lambda path: path.stem)
def test_every_shape_of_a_capsule_is_sealed_and_its_figures_follow_from_its_runs(path: Path) -> None:
    session = files.read_json(path.parent / "session.json", Session)
    checked = check_capsule_file(DATA / "landed", path, session)
    assert checked.findings == ()
    rows = {row.capsule: row for row in matrix.read(DATA / "landed" / "matrix.jsonl")}
    assert checked.row == rows[checked.path]


def test_the_groups_of_the_promotions_are_those_of_their_sessions() -> None:
    workspace = Workspace(ROOT)
    found = everything(Reader(workspace, read_policy(workspace)), None)
    promoted = files.read_toml(DATA / "landed" / "variants" / "promoted.toml", promotions.Promotions).promotion
    assert len(promoted) == 4
    for promotion in promoted:
        # Where no cores were recorded, a key covers the groups of all: one of them has the sessions.
        covered = [key for key in found if promotions.key_of(promotion).covers(key)]
        sessions = [{loaded.evidence.session for loaded in found[key]} for key in covered]
        assert sum(set(promotion.sessions) <= names for names in sessions) == 1


def test_the_digests_of_landed_checkpoints_are_what_they_are_computed_to_be() -> None:
    known = {}
    for path in SESSIONS:
        raw = json.loads(path.read_text())["plan"]
        old = raw["checkpoint"]
        if old["recipe"] is not None:
            known[old["id"]] = digest.of_recipe(old["config_sha256"], old["recipe"])
        else:
            known[old["id"]] = locate(raw["family"], "tiny", facts.read("cpu")).checkpoint.digest
    assert set(known.items()) <= set(DIGESTS.items())


def test_a_copy_in_the_hubs_cache_has_the_digest_of_the_folder(tmp_path: Path) -> None:
    tiny = locate("qwen3", "tiny", facts.read("cpu"))
    weights = tiny.path / "model.safetensors"
    blob = tmp_path / "blobs" / tiny.checkpoint.weights[weights.name]
    blob.parent.mkdir()
    shutil.copy(weights, blob)
    link = tmp_path / "snapshots" / weights.name
    link.parent.mkdir()
    link.symlink_to(blob)
    hashes = digest.weights_sha256([link])
    config = folder.config_hash(files.loads((tiny.path / "config.json").read_text()))
    assert digest.of_files(config, hashes) == tiny.checkpoint.digest


def _change(raw: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = path
    return {**raw, name: _change(raw[name], tuple(rest), value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value"),
    [(("figures", "decode_tok_s"), 1.0), (("checkpoint", "label"), "other"), (("protocol", "runs"), 9)],
)
def test_an_edit_of_an_old_capsule_shows(path: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    raw = _change(json.loads(CAPSULES[0].read_text()), path, value)
    (tmp_path / "edited.json").write_text(json.dumps(raw))
    assert not files.read_json(tmp_path / "edited.json", Capsule).intact


def test_an_unknown_field_in_an_old_capsule_is_refused(tmp_path: Path) -> None:
    raw = {**json.loads(CAPSULES[0].read_text()), "x": 1}
    (tmp_path / "edited.json").write_text(json.dumps(raw))
    with pytest.raises(UnusableInput, match="x: unknown field; take it out"):
        files.read_json(tmp_path / "edited.json", Capsule)


def test_an_optional_field_does_not_change_the_hash_of_a_file_that_lacks_it(tmp_path: Path) -> None:
    path = next((DATA / "v2" / "capsules").glob("*/*_*.json"))
    raw = json.loads(path.read_text())
    assert raw.pop("audit") is None
    (tmp_path / path.name).write_text(json.dumps(resealed(raw)))
    assert files.read_json(tmp_path / path.name, Capsule).intact


def test_a_capsule_of_today_is_read_as_it_was_written(tmp_path: Path) -> None:
    capsule = files.read_json(CAPSULES[0], Capsule).sealed()
    (tmp_path / "today.json").write_bytes(files.dump_json(capsule))
    again = files.read_json(tmp_path / "today.json", Capsule)
    assert again == capsule
    assert again.intact
    assert row_of(again).capsule_sha256 != json.loads(CAPSULES[0].read_text())["content_sha256"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
NAMES = st.sampled_from(["plan", "checkpoint", "protocol", "runs", "blocks", "id", "digest", "conditions", "audit"])


@given(raw=st.dictionaries(NAMES, PLAIN | st.dictionaries(NAMES, PLAIN, max_size=3), max_size=4))
@pytest.mark.parametrize("model", VERSIONED, ids=lambda model: model.__name__)
def test_an_update_takes_whatever_stands_there(model: type[StrictModel], raw: dict[str, Any]) -> None:
    before = json.dumps({**raw, "schema_version": 1}, sort_keys=True)
    document = json.loads(before)
    assert updated(document, model)["schema_version"] == newest(model)
    assert json.dumps(document, sort_keys=True) == before, "an update leaves the document that it was given alone"


@pytest.mark.parametrize("model", VERSIONED, ids=lambda model: model.__name__)
def test_a_newer_document_is_refused(model: type[StrictModel]) -> None:
    with pytest.raises(ValueError, match=rf"schema_version: {newest(model) + 1} is newer than this zmlx knows"):
        updated({"schema_version": newest(model) + 1}, model)
