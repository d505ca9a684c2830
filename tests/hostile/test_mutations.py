"""Ten thousand mutated artifacts: what changed is found or refused in one line, and never a traceback."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.hostile.mutations import mutate
from tests.ledger.test_check import FIXTURES, GOOD, LEGACY, MATRIX, SESSION
from zmlx_bench import files
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput
from zmlx_bench.findings.compare import differences
from zmlx_bench.ledger import matrix, promotions
from zmlx_bench.ledger.check.capsule import check_capsule_file
from zmlx_bench.ledger.check.matrix import check_rows, read_rows
from zmlx_bench.ledger.check.promotions import check_promotions
from zmlx_bench.ledger.check.session import read_session
from zmlx_bench.ledger.evidence import read_evidence
from zmlx_bench.ledger.evidence_reader import Reader, read_policy
from zmlx_bench.legacy.check import check_legacy_file
from zmlx_bench.legacy.registry import import_file
from zmlx_bench.legacy.schema import LegacyImport
from zmlx_bench.legacy.store import import_into, sources
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace

VARIANTS, POLICY, PROMOTED = "variants/qwen3.toml", "variants/policy.toml", "variants/promoted.toml"
SOURCE = "sources/fixture_capsule_20300101.json"
SEALED = {GOOD: Capsule, SESSION: Session, LEGACY: LegacyImport}
TOTAL = 10_000
QUICK = 200
SHARES = {GOOD: 26, SESSION: 14, MATRIX: 14, LEGACY: 10, SOURCE: 10, VARIANTS: 10, POLICY: 8, PROMOTED: 8}
"""Of a hundred mutations."""


@pytest.fixture
def ground(decided: Workspace) -> Workspace:
    """The decided workspace with imports, the project's kernels and variants, and a source to import."""
    root = Path(__file__).resolve().parents[2]
    import_into(decided, sources(FIXTURES))
    (decided.root / "sources").mkdir()
    (decided.root / SOURCE).write_bytes((FIXTURES / "fixture_capsule_20300101.json").read_bytes())
    (decided.root / VARIANTS).write_bytes((root / VARIANTS).read_bytes())
    decided.kernels.rmdir()
    decided.kernels.symlink_to(root / "kernels")
    return decided


def rows_of(ground: Workspace) -> dict[str, MatrixRow]:
    """The rows that the matrix must have."""
    return {row.capsule: row for row in matrix.read(ground.matrix)}


def judged(ground: Workspace, file: str, expected: dict[str, MatrixRow]) -> list[str]:
    """What is said of a file; empty when it holds. Whatever is said is one printable line."""
    path, root = ground.root / file, ground.root
    if file == GOOD:
        session = read_session(root, path.parent).session
        said = [str(f) for f in check_capsule_file(root, path, session).findings]
    elif file == SESSION:
        said = [str(f) for f in read_session(root, path.parent).findings]
    elif file == LEGACY:
        said = [str(f) for f in check_legacy_file(root, path)]
    elif file == MATRIX:
        rows, unread = read_rows(root, path)
        said = [str(f) for f in (*unread, *check_rows(file, rows, expected, list(expected)))]
    else:
        said = []
    assert all(line.isprintable() and line for line in said)
    return said


def used(ground: Workspace, file: str) -> object:
    """What the commands make of a file, other than `check`; a refusal is UnusableInput with one line."""
    path = ground.root / file
    try:
        if file == MATRIX:
            return matrix.read(path)
        if file == SOURCE:
            return import_file(path)
        if file == VARIANTS:
            return [Catalog(ground, "qwen3").resolve(name) for name in Catalog(ground, "qwen3").names()]
        if file == POLICY:
            return read_policy(ground)
        if file == PROMOTED:
            found = promotions.read(ground)
            policy = read_policy(ground)
            return found if not check_promotions(ground, found, Reader(ground, policy), policy) else "found out"
        if file == SESSION:
            return Reader(ground, read_policy(ground)).session(path.parent.name)
        return read_evidence(path)
    except UnusableInput as error:
        return error


def same(data: bytes, mutated: bytes, model: type[BaseModel]) -> bool:
    """Whether both are read as the same, down to the last digit: a default left out, 1.0 for 1."""
    before, after = (files.parse(Path("x"), model, text.decode(), files.loads) for text in (data, mutated))
    return before.model_dump_json() == after.model_dump_json()


def try_one(ground: Workspace, file: str, seed: int, expected: dict[str, MatrixRow]) -> str:
    path = ground.root / file
    data = path.read_bytes()
    mutated = mutate(seed, data, structured=file in (GOOD, SESSION, LEGACY, SOURCE))
    path.write_bytes(mutated)
    try:
        said, made = judged(ground, file, expected), used(ground, file)
        if file in SEALED:
            # Sealed: whatever changed is found, but for what is read as the same.
            assert said or same(data, mutated, SEALED[file]), f"{file}, seed {seed}: accepted"
            return "found" if said else "the same"
        if file == MATRIX and not said:
            wanted = dumped(list(expected.values()))
            assert not any(differences(dumped(matrix.read(path)), wanted)), f"{file}, seed {seed}: accepted"
            return "the same"
        if file == PROMOTED and isinstance(made, Promotions):
            before = Promotions.model_validate(tomllib.loads(data.decode()))
            # Of what a promotion says, only what it replaced and the policy's hash do not follow from the evidence.
            free = {"replaced": None, "policy_sha256": "0" * 64}
            found, known = ([p.model_copy(update=free) for p in part.promotion] for part in (made, before))
            close = [[not any(differences(p, k)) for k in dumped(known)] for p in dumped(found)]
            assert all(any(row) for row in close), f"{file}, seed {seed}: accepted"
        return "refused" if isinstance(made, UnusableInput) or said else "read"
    finally:
        path.write_bytes(data)


def dumped(models: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [p.model_dump(mode="json") for p in models]


def run(ground: Workspace, file: str, count: int) -> Counter[str]:
    """What became of the file's share of `count` mutations."""
    expected = rows_of(ground)
    return Counter(try_one(ground, file, seed, expected) for seed in range(count * SHARES[file] // 100))


def test_some_mutations(ground: Workspace) -> None:
    tallies = [run(ground, file, QUICK) for file in SHARES]
    assert sum(tally.total() for tally in tallies) == QUICK
    assert all(tally.total() > tally["the same"] + tally["read"] for tally in tallies)


@pytest.mark.slow
@pytest.mark.parametrize("file", SHARES, ids=lambda file: file.rpartition("/")[2])
def test_ten_thousand_mutations(ground: Workspace, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    tally = run(ground, file, TOTAL)
    with capsys.disabled():
        print(f"\n{file}: {dict(tally)}")
    assert tally.total() > tally["the same"] + tally["read"]


def test_the_shares_are_the_whole() -> None:
    assert sum(SHARES.values()) == 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON, data=st.data())
def test_any_json_in_the_place_of_an_artifact(ground: Workspace, value: Any, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([GOOD, SESSION, LEGACY, MATRIX, SOURCE]))
    path = ground.root / file
    before = path.read_bytes()
    expected = rows_of(ground)
    path.write_bytes(json.dumps(value).encode("utf-8", "surrogatepass") + b"\n")
    try:
        assert judged(ground, file, expected) or file == SOURCE
        made = used(ground, file)
        assert made is None or isinstance(made, UnusableInput)
    finally:
        path.write_bytes(before)
