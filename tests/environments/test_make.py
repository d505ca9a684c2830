"""Environments made of planted wheels: whole or not at all, recorded in full, and nowhere but in the cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ZMLX, Zmlx
from tests.pythons import changed_mlx_lm, python
from tests.wheels import MLX_LM, borrowed, of_index, wheel
from zmlx_bench.environments.asked import Asked
from zmlx_bench.environments.found import look
from zmlx_bench.environments.listing import rows
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process
UV = shutil.which("uv")
ASKED = "mlx==9.1,planted==1.0"


class Cache:
    """A user's cache and an index of planted wheels."""

    def __init__(self, folder: Path) -> None:
        self.wheels, self.cache = folder / "wheels", folder / "cache"
        self.root = self.cache / "zmlx" / "environments"
        borrowed(self.wheels, mlx="9.1")
        self.planted = wheel(self.wheels, "planted", "1.0", {"planted/__init__.py": "WORD = 'planted'\n"})
        self.env = of_index(self.wheels, self.cache)
        self.cwd = folder

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*ZMLX, "environments", *arguments],
            env=self.env, cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def whole(self) -> list[Path]:
        return [path.parent for path in self.root.glob("*/environment.json")]

    def begun(self) -> list[Path]:
        return [path for path in self.root.glob(".*-*") if path.is_dir()]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """One in which a maker was killed, and then two made the same environment at once."""
    made = Cache(tmp_path_factory.mktemp("environments"))
    killed = made.start("make", ASKED)
    until(lambda: any((folder / "bin" / "python").exists() for folder in made.begun()))
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert made.whole() == [], "a killed make leaves nothing that is taken for whole"
    makers = [made.start("make", ASKED, "--json") for _ in range(2)]
    answers = [maker.communicate(timeout=120) for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0], answers
    first, second = (json.loads(out) for out, _ in answers)
    assert first == second
    assert sorted("waiting" in err for _, err in answers) == [False, True], "the second finds what the first made"
    return made


Run = Callable[..., str]


@pytest.fixture
def run(cache: Cache, zmlx_inside: Zmlx, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `zmlx environments ARGUMENTS` there, in this process; return what it says where it ends so."""
    for name, value in cache.env.items():
        monkeypatch.setenv(name, value)

    def there(*arguments: str, code: int = 0) -> str:
        done = zmlx_inside("environments", *arguments, cwd=cache.cwd)
        assert done.returncode == code, done.stderr
        return done.stdout if code <= 1 else done.stderr

    return there


def listed(run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("list", "--json"))["environments"]
    return found


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_makers_and_a_killed_one_leave_one_whole_environment(cache: Cache, run: Run) -> None:
    (row,) = listed(run)
    assert (row["name"], row["mlx"], row["mlx_lm"], row["lacks"]) == (ASKED, "9.1", MLX_LM, None)
    assert row["bytes"] > 1000
    assert cache.begun() == [], "what the killed one left is gone"


def test_it_is_recorded_in_full(cache: Cache, run: Run) -> None:
    (row,) = listed(run)
    record = json.loads((cache.root / row["key"] / "environment.json").read_text())
    found = record["environment"]
    installed = {one["name"]: one for one in found["distributions"]}
    digest = subprocess.run(["sha256sum", cache.planted], capture_output=True, text=True, check=True).stdout.split()[0]
    assert installed["planted"]["wheel_sha256"] == [digest]
    assert installed["planted"]["version"] == "1.0"
    assert len(installed["planted"]["record_sha256"]) == 64
    assert found["python"] == sys.version.split()[0]
    assert found["platform"]
    assert set(found["packages"]) == {"mlx", "mlx_lm"}
    assert record["maker"].startswith("pip ")


def test_its_own_python_has_what_was_installed_and_the_users_has_not(cache: Cache, run: Run) -> None:
    (row,) = listed(run)
    command = ("-c", "import planted; print(planted.WORD, planted.__file__)")
    theirs = subprocess.run([cache.root / row["key"] / "bin" / "python", *command], capture_output=True, text=True)
    assert theirs.stdout.split() == ["planted", str(next(cache.root.glob("*/lib/*/site-packages/planted/__init__.py")))]
    ours = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert "No module named 'planted'" in ours.stderr


def test_a_build_that_fails_is_one_line_with_the_logs_path(cache: Cache, run: Run) -> None:
    said = run("make", "absent==1.0", code=4)
    assert len(said.splitlines()) == 2, "that it is being made, and why it could not be"
    last = said.splitlines()[-1]
    assert "absent==1.0" in last
    log = Path(last.rpartition("the log is ")[2])
    assert "absent" in log.read_text()
    assert [row["name"] for row in listed(run)] == [ASKED]
    assert cache.begun() == []


def test_pip_that_is_told_to_install_elsewhere_is_not_run(
    cache: Cache, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\ntarget = {tmp_path / 'elsewhere'}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    said = run("make", "planted==1.0", code=4)
    assert "pip's configuration installs elsewhere (global.target)" in said
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_variables_of_another_environment_do_not_lead_there(
    cache: Cache, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"PIP_TARGET": str(tmp_path / "t"), "PIP_PREFIX": str(tmp_path / "p"), "PYTHONPATH": str(tmp_path)}
    (tmp_path / "mlx_lm.py").write_text("raise SystemExit('another mlx-lm')")
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    run("make", f"{cache.planted},mlx==9.1")
    assert list(tmp_path.iterdir()) == [tmp_path / "mlx_lm.py"]
    assert len(listed(run)) == 1, "the same distributions are the same environment"


@pytest.fixture
def spoilt(cache: Cache, run: Run) -> Iterator[Path]:
    """A file of the environment, put back in the end."""
    (row,) = listed(run)
    record = next((cache.root / row["key"]).glob("lib/*/site-packages/planted-*/RECORD"))
    whole = record.read_text()
    yield record
    record.write_text(whole)


def test_one_that_was_changed_since_is_not_used(run: Run, spoilt: Path) -> None:
    assert "can measure" in run("check", ASKED)
    spoilt.write_text(spoilt.read_text().replace("planted/__init__.py,sha256=", "planted/__init__.py,sha256=0"))
    assert "is no longer what was made" in run("check", ASKED, code=4)


@pytest.mark.slow
def test_one_that_was_changed_since_is_not_what_is_made_again(run: Run, spoilt: Path) -> None:
    spoilt.write_text(spoilt.read_text().replace("planted/__init__.py,sha256=", "planted/__init__.py,sha256=0"))
    said = run("make", ASKED, "--again", code=4)
    assert "is no longer what was made" in said
    assert "remove" in said


def test_two_names_of_one_environment_are_both_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "variants").mkdir()
    one = f"requirements = {json.dumps(ASKED.split(','))}\n"
    (tmp_path / "variants" / "environments.toml").write_text(
        f'schema_version = 1\n[environment.one]\nwhy = "x"\n{one}[environment.other]\nwhy = "x"\n{one}'
    )
    (kept,) = listed(run)
    assert [(row["name"], row["key"]) for row in rows(Workspace(tmp_path))] == [
        ("one", kept["key"]), ("other", kept["key"]),
    ]  # fmt: skip


def test_one_is_removed_by_its_name_and_what_is_not_ours_is_left(run: Run) -> None:
    run("make", "mlx==9.1")
    assert len(listed(run)) == 2
    assert "removed mlx==9.1" in run("remove", "mlx==9.1")
    assert [row["name"] for row in listed(run)] == [ASKED]
    assert "is not made" in run("check", "mlx==9.1", code=4)
    assert "is its owner's" in run("remove", sys.executable, code=3)
    assert Path(sys.executable).exists()


def test_a_python_that_lacks_mlx_says_so(run: Run, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    (site,) = (tmp_path / "bare").glob("lib/*/site-packages")
    (site / "greets.pth").write_text("import sys; print('hello')\n")
    found = json.loads(run("check", str(tmp_path / "bare" / "bin" / "python"), "--json", code=1))
    assert found["packages"] == {}
    assert found["lacks"] == "ModuleNotFoundError: No module named 'mlx_lm'"
    shutil.rmtree(tmp_path / "bare")
    (tmp_path / "bare").write_text("")
    assert "cannot be run" in run("check", str(tmp_path / "bare"), code=4)


def test_a_python_that_is_too_old_says_so(run: Run, tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho hello\nprintf 3.9.18\n")
    old.chmod(0o755)
    assert "is Python 3.9.18; measured processes need 3.11 or newer" in run("check", str(old), code=4)
    old.write_text("#!/bin/sh\necho what is it >&2\n")
    assert "does not say what it is: what is it" in run("check", str(old), code=4)
    old.write_text("#!/bin/sh\necho '[]'\n")
    assert "does not say what it is: []" in run("check", str(old), code=4)


def test_a_checkout_is_recorded_by_its_commit_and_whether_it_differs(tmp_path: Path) -> None:
    checkout = changed_mlx_lm(tmp_path / "fork", {})
    git = ("git", "-C", checkout, "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "fork")):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    asked = Asked("fork", python=python(tmp_path / "env", checkout))
    assert asked.python is not None
    clean = look(asked.python, asked)
    assert (clean.packages["mlx_lm"].commit, clean.packages["mlx_lm"].dirty) == (commit, False)
    assert clean.packages["mlx"].commit is None, "what is installed lies in no checkout, wherever its environment does"
    with (checkout / "mlx_lm" / "generate.py").open("a") as file:
        file.write("# patched\n")
    dirty = look(asked.python, asked)
    assert dirty.packages["mlx_lm"].dirty
    assert dirty.digest != clean.digest


@pytest.mark.slow
def test_uv_makes_the_same_of_the_same_wheels(cache: Cache, run: Run) -> None:
    if UV is None:
        pytest.skip("uv is not installed")
    (row,) = listed(run)
    there = json.loads((cache.root / row["key"] / "environment.json").read_text())["environment"]
    other = Cache(cache.cwd / "with-uv")
    # Archives hold the time at which they were written.
    shutil.copytree(cache.wheels, other.wheels, dirs_exist_ok=True)
    other.env |= {
        "PATH": f"{Path(UV).parent}:{other.env['PATH']}", "UV_NO_CONFIG": "1", "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(other.cache / "uv"),
        "UV_FIND_LINKS": str(other.wheels),
    }  # fmt: skip
    out, err = other.start("make", ASKED, "--json").communicate(timeout=120)
    assert out, err
    made = json.loads(out)
    assert {**made, "asked": ""} == {**there, "asked": ""}
    (record,) = other.root.glob("*/environment.json")
    assert json.loads(record.read_text())["maker"].startswith("uv ")
