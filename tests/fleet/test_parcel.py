"""What travels is known by its bytes, and holds nothing that leads elsewhere."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from zmlx_bench.errors import UnusableInput
from zmlx_bench.fleet import parcel
from zmlx_bench.workspace import Workspace


def made(root: Path) -> Workspace:
    for name, text in {
        "kernels/mine/kernel.py": "A = 1\n", "variants/qwen3.toml": "x = 1\n", "families/own/family.py": "B = 2\n",
        "kernels/mine/__pycache__/kernel.pyc": "no", "variants/promoted.toml.lock": "", "capsules/s/session.json": "{}",
        "secret.txt": "no",
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Workspace(root)


def files_in(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_sources_travel_and_nothing_else(tmp_path: Path) -> None:
    data = parcel.pack(made(tmp_path / "head"))
    there = parcel.unpack(tmp_path / "node", parcel.hash_of(data), data)
    assert files_in(there.root) == {
        "kernels/mine/kernel.py": "A = 1\n", "variants/qwen3.toml": "x = 1\n", "families/own/family.py": "B = 2\n",
    }  # fmt: skip
    assert parcel.unpack(tmp_path / "node", parcel.hash_of(data), b"is there already") == there


def test_the_same_files_are_the_same_parcel_wherever_they_lie(tmp_path: Path) -> None:
    first, second = (parcel.pack(made(tmp_path / name)) for name in ("one", "two"))
    assert first == second
    (tmp_path / "two/kernels/mine/kernel.py").write_text("A = 2\n")
    assert parcel.pack(Workspace(tmp_path / "two")) != first


def test_another_parcel_than_was_named_is_refused(tmp_path: Path) -> None:
    data = parcel.pack(made(tmp_path / "head"))
    with pytest.raises(UnusableInput, match="another hash"):
        parcel.unpack(tmp_path / "node", parcel.hash_of(data + b"x"), data)
    assert list((tmp_path).glob("node/*")) == []


@pytest.mark.parametrize("name", ["../out.txt", "kernels/../../out.txt", "/etc/out.txt", "capsules/s/session.json"])
def test_a_parcel_that_leads_elsewhere_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr("kernels/a.py", "A = 1\n")
        out.writestr(name, "out")
    data = packed.getvalue()
    with pytest.raises(UnusableInput, match="it names"):
        parcel.unpack(tmp_path / "node", parcel.hash_of(data), data)
    assert files_in(tmp_path) == {}


def test_a_link_out_of_the_workspace_does_not_travel(tmp_path: Path) -> None:
    workspace = made(tmp_path / "head")
    (tmp_path / "outside.txt").write_text("mine")
    (workspace.kernels / "link.py").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(UnusableInput, match="leads outside"):
        parcel.pack(workspace)
