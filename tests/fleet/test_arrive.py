"""What a node returns is a stranger's: it is taken as it was measured, or refused with what is wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.real import Real, measured
from zmlx_bench.fleet.arrive import MOST_FILES, Refused, check_names, receive
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.base import content_hash
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process
Tamper = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return measured(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def head(real: Real, tmp_path: Path) -> Workspace:
    """The head's workspace, as it was before anything came."""
    return Workspace(shutil.copytree(real.head.root, tmp_path / "head"))


def arrive(real: Real, head: Workspace, tamper: Tamper = lambda _: None, **work: Any) -> None:
    files = dict(real.files)
    tamper(files)
    sizes = {name: len(data) for name, data in files.items()}
    receive(head, head.root / "arrivals", real.parcel, real.work.model_copy(update=work), sizes, files.__getitem__)
    matrix.write(head)


def folders(head: Workspace) -> list[str]:
    return sorted(path.name for path in head.capsules.iterdir())


def edited(name_end: str, **fields: object) -> Tamper:
    """Edit a file and seal it again, as somebody would who forges."""

    def tamper(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.endswith(name_end))
        content = json.loads(files[name])
        content.update(fields)
        content["content_sha256"] = content_hash({k: v for k, v in content.items() if k != "content_sha256"})
        files[name] = json.dumps(content).encode()

    return tamper


def test_a_session_is_taken_once_and_holds(real: Real, head: Workspace) -> None:
    arrive(real, head)
    before = {path: path.read_bytes() for path in head.capsules.rglob("*") if path.is_file()}
    assert folders(head) == [real.work.session]
    arrive(real, head)
    assert {path: path.read_bytes() for path in head.capsules.rglob("*") if path.is_file()} == before
    checked = check_workspace(head, processes=1)
    assert (checked.findings, checked.sessions, checked.rows) == ((), 1, 1)
    assert list((head.root / "arrivals").iterdir()) == []


def test_a_session_does_not_replace_another_of_its_name(real: Real, head: Workspace) -> None:
    arrive(real, head)
    path = head.session(real.work.session) / "session.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(Refused, match="another of this name is in the workspace"):
        arrive(real, head)
    assert path.read_bytes().endswith(b"\n\n")


def _torn(files: dict[str, bytes]) -> None:
    name = next(name for name in files if name != "session.json")
    files[name] = files[name][:-20]


def _flipped(files: dict[str, bytes]) -> None:
    name = next(name for name in files if name != "session.json")
    assert b'"decode_s": ' in files[name]
    files[name] = files[name].replace(b'"decode_s": ', b'"decode_s": 1', 1)


def _missing(files: dict[str, bytes]) -> None:
    del files[next(name for name in files if name != "session.json")]


def _one_more(files: dict[str, bytes]) -> None:
    files["another.json"] = files[next(name for name in files if name != "session.json")]


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (_torn, "_qwen_qkv_joined.json: "),
        (_flipped, "edited after it was written"),
        (_missing, "no such file"),
        (_one_more, "another.json"),
        (edited("session.json", session="20300101T000000Z-qwen3-0000"), "session: says"),
        (edited("session.json", state="running"), "ended"),
        (edited("session.json", shared_device=True), "shared_device"),
    ],
    ids=["torn", "edited", "capsule missing", "capsule too many", "another's name", "unfinished", "shared"],
)
def test_what_does_not_hold_is_refused_and_leaves_nothing(
    real: Real, head: Workspace, tamper: Tamper, says: str
) -> None:
    with pytest.raises(Refused, match=says):
        arrive(real, head, tamper)
    assert folders(head) == []
    assert list((head.root / "arrivals").iterdir()) == []
    assert check_workspace(head, processes=1).findings == ()


def test_what_was_not_asked_for_is_refused(real: Real, head: Workspace) -> None:
    question = real.work.question
    for work, says in (
        ({"question": question.model_copy(update={"tokens": (8,)})}, "tokens: is"),
        ({"question": question.model_copy(update={"seed": 5})}, "seed: is 0, asked for was 5"),
        ({"question": question.model_copy(update={"checkpoint": "full"})}, "checkpoint: is tiny, asked for was full"),
        ({"question": question.model_copy(update={"checkpoint": "some/model@main"})}, "for was some/model"),
        (
            {"question": question.model_copy(update={"prompts": None})},
            r"prompts: is primes \(\w{8}\), asked for was \w+,",
        ),
        ({"question": question.model_copy(update={"null_arm": True})}, "null_arm: is False, asked for was True"),
        ({"device": real.work.device.model_copy(update={"mlx": "9"})}, "device: is"),
        ({"family": real.work.family.model_copy(update={"variants": ("qwen_native",)})}, "variants: is"),
    ):
        with pytest.raises(Refused, match=says):
            arrive(real, head, **work)
    assert folders(head) == []
    arrive(real, head, question=question.model_copy(update={"checkpoint": "auto"}))


def test_a_variant_that_is_not_what_was_sent_is_refused(real: Real, head: Workspace, tmp_path: Path) -> None:
    other = Workspace(shutil.copytree(real.parcel.root, tmp_path / "other"))
    with (other.kernels / "qkv_joined" / "kernel.py").open("a") as file:
        file.write("CHANGED = True\n")
    with pytest.raises(Refused, match="is another than was sent: its identity differs"):
        arrive(Real(real.head, other, real.work, real.files), head)
    assert folders(head) == []


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"session.json": 10, "../other/session.json": 10}, "is no name of a capsule"),
        ({"session.json": 10, "/etc/passwd": 10}, "is no name of a capsule"),
        ({"session.json": 10, "rows.jsonl": 10}, "is no name of a capsule"),
        ({"session.json": 10, ".hidden.json": 10}, "is no name of a capsule"),
        ({"session.json": 10, "a.json": 10**9}, "33554432 at most are taken"),
        ({"session.json": 0}, "of 0 bytes"),
        ({"a.json": 10}, "session.json is missing"),
        ({f"{n}.json": 10 for n in range(MOST_FILES)} | {"session.json": 10}, "are too many"),
    ],
)
def test_names_and_sizes_are_looked_at_before_anything_is_fetched(sizes: dict[str, int], says: str) -> None:
    with pytest.raises(Refused, match=says):
        check_names("s", sizes)


def test_a_file_of_another_size_than_was_said_is_refused(real: Real, head: Workspace) -> None:
    sizes = {name: len(data) + 1 for name, data in real.files.items()}
    with pytest.raises(Refused, match="the node said"):
        receive(head, head.root / "arrivals", real.parcel, real.work, sizes, real.files.__getitem__)
    assert folders(head) == []
