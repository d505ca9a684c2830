"""`zmlx doctor` survives whatever the libraries and the kernels of this machine do when they are imported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV, Zmlx
from tests.hub import snapshot
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.doctor import checkup, kernels
from zmlx_bench.machine import built
from zmlx_bench.workspace import Workspace

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "new_family" / "families"


@pytest.mark.parametrize(
    ("library", "does", "says"),
    [
        ("mlx_lm", "raise SystemExit(5)", "exited with code 5"),
        (
            "transformers",
            "raise RuntimeError('one line\\nand what it means')",
            "RuntimeError: one line and what it means",
        ),
        ("mlx", "import os; os.kill(os.getpid(), 4)", "killed by SIGILL"),
    ],
)
def test_a_library_that_cannot_be_imported_is_named_with_a_remedy(
    zmlx: Zmlx, tmp_path: Path, library: str, does: str, says: str
) -> None:
    folder = tmp_path / "broken" / library
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(does)
    done = zmlx("doctor", cwd=tmp_path, env={**QUIET_ENV, "PYTHONPATH": str(folder.parent)})
    shown = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "mlx and mlx-lm cannot be imported: " in shown
    assert says in shown
    assert "pip install --force-reinstall 'mlx==" in shown


def test_a_command_says_which_library_cannot_be_imported(zmlx: Zmlx, tmp_path: Path) -> None:
    (tmp_path / "psutil.py").write_text("raise ImportError('built for another processor', name='psutil')")
    done = zmlx("doctor", cwd=tmp_path, env={**QUIET_ENV, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 4
    assert done.stderr.startswith("zmlx: psutil cannot be imported (built for another processor): ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "error", "says"),
    [
        (
            "_ctypes",
            "libffi.so.8: cannot open shared object file: No such file or directory",
            "this Python cannot import ctypes (libffi.so.8: cannot open shared object file: No such file or directory)",
        ),
        ("zlib", "No module named 'zlib'", "this Python cannot import zlib (No module named 'zlib')"),
    ],
)
def test_a_python_that_was_built_without_a_part_is_told_so(
    zmlx: Zmlx, make_workspace: Callable[..., Workspace], tmp_path: Path, module: str, error: str, says: str
) -> None:
    """By doctor, which else would say that it can measure, and by a command that stumbles over a library."""
    (tmp_path / f"{module}.py").write_text(f"raise ImportError({error!r}, name={module!r})")
    where = {"cwd": make_workspace().root, "env": {**QUIET_ENV, "PYTHONPATH": str(tmp_path)}}
    done = zmlx("report", **where)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"zmlx: {says}: it was built without ")
    assert done.stderr.count("\n") == 1
    if module == "_ctypes":
        seen = zmlx("doctor", "--json", **where)
        assert seen.returncode == 1
        (found,) = [each for each in json.loads(seen.stdout)["findings"] if each["subject"] == "Python"]
        assert found["level"] == "problem"
        assert found["found"] == says
        assert found["remedy"].startswith("it was built without libffi, or that is gone")


def test_what_another_python_lacks_comes_with_its_remedy() -> None:
    assert built.lacking() is None
    for module, (_, library, package) in built.PARTS.items():
        remark = built.remark(f"ModuleNotFoundError: No module named '{module}'")
        assert f"built without {library}" in remark
        assert f"apt-get install {package}" in remark
    assert built.remark("ModuleNotFoundError: No module named 'mlx'") == ""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise SystemExit('no')", "cannot be imported: SystemExit: no"),
        ("def probe(mode, backend):\n    raise KeyError('a')", "cannot be asked (probe): KeyError: 'a'"),
        ("raise OSError('one\\ntwo')", "cannot be imported: OSError: one two"),
    ],
)
def test_a_kernel_that_breaks_when_it_is_asked_is_a_note(
    make_workspace: Callable[..., Workspace], body: str, says: str
) -> None:
    place = make_workspace("no_op")
    (place.kernels / "no_op" / "kernel.py").write_text(body)
    assert says in [note.remedy for note in kernels.observations(place, "cpu") if "no_op" in note.subject]


def test_the_hub_cache_knows_the_families_of_the_workspace(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    place = make_workspace()
    shutil.copytree(EXAMPLE, place.families, dirs_exist_ok=True)
    own = [name for name in family_catalog.names(place) if name not in family_catalog.names()]
    assert own
    for name in family_catalog.names():
        snapshot(tmp_path, family_catalog.facts(name).hub_id, "config.json", "tokenizer.json", "model.safetensors")
    assert checkup.hub_cache(tmp_path).level == "good"
    found = checkup.hub_cache(tmp_path, place)
    assert all(family_catalog.facts(name, place).hub_id in found.found for name in own)
    (place.families / "broken").mkdir()
    (place.families / "broken" / "facts.toml").write_text("title = 1")
    assert checkup.hub_cache(tmp_path, place) == found
