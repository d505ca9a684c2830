"""What MLX compiles is there for the next process and session, whole and unchanged, or it is compiled again."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV
from zmlx_bench.measured.ahead import modules
from zmlx_bench.session import compiled as store_of
from zmlx_bench.session.compiled import Compiled, prune

COMPUTE = """
import mlx.core as mx
mx.set_default_device(mx.cpu)
fused = mx.compile(lambda x, y: mx.sigmoid(x) * y + 3)
print(fused(mx.array([0.0, 0.0]), mx.array([2.0, 4.0])).tolist())
"""


def made(temporary: Path, name: str, content: bytes) -> Path:
    path = temporary / "mlx" / "1" / "cpu" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def kept_files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def compute(compiled: Compiled) -> str:
    env = {**QUIET_ENV, **compiled.environment}
    return subprocess.run([sys.executable, "-c", COMPUTE], capture_output=True, text=True, check=True, env=env).stdout


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="MLX fuses on the CPU with the system's compiler")
def test_mlx_compiles_a_kernel_once_for_all_sessions(tmp_path: Path) -> None:
    with Compiled(tmp_path) as first:
        assert compute(first) == "[4.0, 5.0]\n"
        first.ended(well=True)
        (library,) = first.folder.glob("mlx/**/*.so")
        name = library.relative_to(first.folder)
    with Compiled(tmp_path) as second:
        assert second.folder != first.folder
        mine = second.folder / name
        before = mine.stat().st_mtime_ns
        assert compute(second) == "[4.0, 5.0]\n"
        assert mine.stat().st_mtime_ns == before, "it was loaded, not compiled"
        assert not list(second.folder.glob("mlx/**/*.cpp"))


def test_a_damaged_file_is_not_used_and_not_kept(tmp_path: Path) -> None:
    with Compiled(tmp_path) as compiled:
        made(compiled.folder, "good.so", b"good")
        made(compiled.folder, "bad.so", b"bad")
        compiled.ended(well=True)
    (bad,) = (path for path in kept_files(tmp_path) if path.name == "bad.so")
    bad.write_bytes(b"worse")
    with Compiled(tmp_path) as compiled:
        assert [path.name for path in kept_files(compiled.folder)] == ["good.so"]
    assert [path.name for path in kept_files(tmp_path)] == ["good.so"]


def test_what_a_process_that_failed_has_added_is_gone_for_the_next(tmp_path: Path) -> None:
    with Compiled(tmp_path) as compiled:
        made(compiled.folder, "whole.so", b"whole")
        compiled.ended(well=True)
        made(compiled.folder, "half.so", b"ha")
        compiled.ended(well=False)
        assert [path.name for path in kept_files(compiled.folder)] == ["whole.so"]
        made(compiled.folder, "cut.so", b"the supervisor is interrupted")
    assert [path.name for path in kept_files(tmp_path)] == ["whole.so"]


def test_nothing_but_what_mlx_made_is_kept_and_nothing_stays_behind(tmp_path: Path) -> None:
    with Compiled(tmp_path) as compiled:
        made(compiled.folder, "a.so", b"a")
        made(compiled.folder, "a.cpp", b"source")
        (compiled.folder / "other").write_bytes(b"of a kernel")
        compiled.ended(well=True)
    assert [path.name for path in kept_files(tmp_path)] == ["a.so"]
    assert not compiled.folder.exists()


def test_two_sessions_at_once_do_not_see_each_others_files_and_keep_the_same_once(tmp_path: Path) -> None:
    both = threading.Barrier(2)
    seen: list[list[str]] = []

    def session(name: str) -> None:
        with Compiled(tmp_path) as compiled:
            made(compiled.folder, "same.so", b"same")
            made(compiled.folder, f"{name}.so", name.encode())
            both.wait(30)
            compiled.ended(well=True)
            seen.append([path.name for path in kept_files(compiled.folder)])

    threads = [threading.Thread(target=session, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == [["a.so", "same.so"], ["b.so", "same.so"]]
    assert sorted(path.name for path in kept_files(tmp_path)) == ["a.so", "b.so", "same.so"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_store_that_is_no_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with Compiled(tmp_path / "store") as compiled:
        made(compiled.folder, "a.so", b"a")
        compiled.ended(well=True)
    assert (tmp_path / "store").read_bytes() == b""


def keep(store: Path, **files: int) -> None:
    """Keep files of so many bytes, one a session, an hour between them, the last one now."""
    for age, (name, size) in enumerate(reversed(files.items())):
        with Compiled(store) as compiled:
            path = made(compiled.folder, f"{name}.so", name.encode() * size)
            compiled.ended(well=True)
            entry = store / store_of._digest([path])
        os.utime(entry, (then := time.time() - 3600 * age, then))


def test_what_was_kept_longest_ago_goes_first_and_the_bound_itself_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, a=100, b=50, c=50)
    prune(tmp_path, 200)
    assert len(kept_files(tmp_path)) == 3
    prune(tmp_path, 199)
    assert sorted(path.name for path in kept_files(tmp_path)) == ["b.so", "c.so"]
    prune(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    prune(tmp_path / "none", 0)


def test_a_session_holds_the_store_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, a=100, b=50)
    monkeypatch.setattr(store_of, "MOST_BYTES", 60)
    with Compiled(tmp_path) as compiled:
        assert len(kept_files(compiled.folder)) == 2, "what there was serves this session"
        assert [path.name for path in kept_files(tmp_path)] == ["b.so"]


def test_what_another_mlx_left_goes_after_a_season_and_copies_that_were_cut_short_after_a_day(tmp_path: Path) -> None:
    now = time.time()
    names = {"mlx-used": 0.0, "mlx-recent": 0.9, "mlx-old": 1.1, "other": 1.1}
    for name, seasons in names.items():
        (tmp_path / name / "entry").mkdir(parents=True)
        (tmp_path / name / "entry" / "a.so").write_bytes(b"a")
        os.utime(tmp_path / name, (then := now - seasons * store_of.UNUSED_S, then))
    used = tmp_path / "mlx-used"
    for name, days in ((".cut", 1.1), (".going", 0.9)):
        (used / name).mkdir()
        os.utime(used / name, (then := now - days * 24 * 3600, then))
    os.utime(used, (then := now - 2 * store_of.UNUSED_S, then))
    prune(used, store_of.MOST_BYTES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlx-recent", "mlx-used", "other"]
    assert sorted(path.name for path in used.iterdir()) == [".going", "entry"]
    assert used.stat().st_mtime >= now, "it was used"


def test_two_that_prune_while_others_read_leave_whole_files_or_none(tmp_path: Path) -> None:
    keep(tmp_path, **{f"f{i}": 40 for i in range(20)})
    whole = {f"f{i}.so": f"f{i}".encode() * 40 for i in range(20)}
    seen: list[dict[str, bytes]] = []
    start = threading.Barrier(4)

    def read() -> None:
        start.wait(30)
        with Compiled(tmp_path) as compiled:
            seen.append({path.name: path.read_bytes() for path in kept_files(compiled.folder)})

    def remove() -> None:
        start.wait(30)
        for bound in range(2400, -1, -100):
            prune(tmp_path, bound)

    threads = [threading.Thread(target=work) for work in (read, read, remove, remove)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 2
    for found in seen:
        assert found.items() <= whole.items()
    assert kept_files(tmp_path) == []


def module(temporary: Path, name: str, code: bytes, includes: Path | None = None) -> list[Path]:
    """Make a compiled module of CUDA with the file that it includes."""
    where = temporary / "mlx" / "1" / "ptx"
    read = "" if includes is None else modules.read_with(f'#include "{includes}"\n'.encode())
    return modules.put(where, name, modules.Compiled(code, {"k": "_k"}), read)


def names(folder: Path) -> list[str]:
    return [path.name for path in kept_files(folder)]


def test_a_module_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with Compiled(tmp_path) as compiled:
        module(compiled.folder, "whole", b"code")
        made(compiled.folder, "mlx_own.ptx", b"code")
        made(compiled.folder, "mlx_own.txt", b"names")
        made(compiled.folder, "mlx_own.cu", b"source")
        made(compiled.folder, "half.ptx", b"code without names")
        compiled.ended(well=True)
    whole = ["mlx_own.ptx", "mlx_own.txt", "whole.ptx", "whole.read", "whole.txt"]
    assert sorted(names(tmp_path)) == whole
    with Compiled(tmp_path) as compiled:
        assert sorted(names(compiled.folder)) == whole
    (lost,) = tmp_path.rglob("mlx_own.txt")
    lost.unlink()
    with Compiled(tmp_path) as compiled:
        assert sorted(names(compiled.folder)) == ["whole.ptx", "whole.read", "whole.txt"]
    assert sorted(names(tmp_path)) == ["whole.ptx", "whole.read", "whole.txt"]


@pytest.mark.parametrize("end", [".ptx", ".txt", ".read"])
def test_a_module_of_which_a_file_was_changed_is_not_used(tmp_path: Path, end: str) -> None:
    with Compiled(tmp_path) as compiled:
        module(compiled.folder, "m", b"code")
        compiled.ended(well=True)
    (damaged,) = tmp_path.rglob(f"m{end}")
    damaged.write_bytes(b"other")
    with Compiled(tmp_path) as compiled:
        assert names(compiled.folder) == []
    assert names(tmp_path) == []


def test_a_module_that_includes_a_changed_file_is_not_used(tmp_path: Path) -> None:
    store, header = tmp_path / "store", tmp_path / "part.cuh"
    header.write_text("one")
    with Compiled(store) as compiled:
        module(compiled.folder, "m", b"code", header)
        compiled.ended(well=True)
    for text, found in (("two", 0), ("one", 3)):
        header.write_text(text)
        with Compiled(store) as compiled:
            assert len(names(compiled.folder)) == found


def test_a_code_that_was_kept_alone_is_not_used(tmp_path: Path) -> None:
    path = made(tmp_path / "elsewhere", "m.ptx", b"code")
    entry = tmp_path / "store" / store_of._digest([path])
    path.rename(made(entry, "m.ptx", b""))
    with Compiled(tmp_path / "store") as compiled:
        assert names(compiled.folder) == []


def test_what_is_marked_is_there_as_long_as_all_its_files_are(tmp_path: Path) -> None:
    with Compiled(tmp_path) as compiled:
        assert not compiled.holds("mark")
        files = module(compiled.folder, "m", b"code")
        told = json.dumps([path.relative_to(compiled.folder).as_posix() for path in files])
        path = compiled.folder / "mlx" / store_of.MARKS / "mark"
        path.parent.mkdir()
        path.write_text(told)
        assert compiled.holds("mark")
        compiled.ended(well=True)
    with Compiled(tmp_path) as compiled:
        assert compiled.holds("mark")
        next(compiled.folder.rglob("m.ptx")).unlink()
        assert not compiled.holds("mark")
        (compiled.folder / "mlx" / store_of.MARKS / "mark").write_text("no json")
        assert not compiled.holds("mark")


def test_each_gpu_and_compiler_has_a_place_of_its_own() -> None:
    places = [store_of.place("1"), store_of.place("1", "cc-9.0-13.0"), store_of.place("1", "cc-8.0-13.0")]
    places += [store_of.place("2", "cc-9.0-13.0"), store_of.place("1", "cc-9.0-13.1")]
    assert len(set(places)) == 5


def test_a_module_of_which_a_file_cannot_be_copied_is_not_there_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Compiled(tmp_path) as compiled:
        module(compiled.folder, "m", b"code")
        made(compiled.folder, "a.so", b"a")
        made(compiled.folder, "b.so", b"b")
        compiled.ended(well=True)
    copied = shutil.copyfile

    def full(source: Path, target: Path) -> None:
        if source.suffix == ".txt":
            target.write_bytes(source.read_bytes()[:1])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copied(source, target)

    monkeypatch.setattr(store_of.shutil, "copyfile", full)
    with Compiled(tmp_path) as compiled:
        assert names(compiled.folder) == ["a.so", "b.so"]
    assert sorted(names(tmp_path)) == ["a.so", "b.so", "m.ptx", "m.read", "m.txt"], "what is kept is whole"
