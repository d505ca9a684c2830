"""What many tests share: workspaces with planted kernels, the command in a process of its own, the tiny models."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

# Before anybody imports NumPy, whose linear algebra begins with a thread for each processor: a tenth of what a worker
# of a session takes, for products that nobody asks for.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tests import marks
from tests.forked import Forker
from tests.left import pytest_exception_interact
from tests.planted import plant
from tests.tiny import Tiny
from zmlx_bench import workspace as workspaces
from zmlx_bench.cli.main import main
from zmlx_bench.machine import device
from zmlx_bench.measured import loader
from zmlx_bench.workspace import Workspace

__all__ = ["pytest_exception_interact"]
ZMLX = (sys.executable, "-c", "from zmlx_bench.cli.main import main; main()")
QUIET_ENV = {name: value for name, value in os.environ.items() if not name.startswith(("MLX_", "ZMLX_"))}
# Hundreds of commands would compile their modules anew, and each worker of xdist all tests.
QUIET_ENV.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# The device's lock lies in the temporary folder: two runs of the tests on one machine must not meet there.
QUIET_ENV["TMPDIR"] = tempfile.mkdtemp(prefix="zmlx-tests-")
atexit.register(shutil.rmtree, QUIET_ENV["TMPDIR"], ignore_errors=True)
# How long an example takes, and how long it is looked for, says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
Zmlx = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure(config: pytest.Config) -> None:
    """Let commands be interrupted, and xdist keep the order in which the groups stand."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell hands it on as ignored to what it runs in the background, and so would the tests to their commands.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.pluginmanager.hasplugin("xdist"):
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Keep Python's collector off the tests that are collected: it would look through all of them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return three workers for every two cores: a third of what the tests do is wait for processes.

    None, which leaves it to xdist, where its variable says how many or `-n logical` asks for another number.
    """
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or config.option.numprocesses == "logical":
        return None
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return cores + (cores + 1) // 2


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test by where it stands; under xdist, say which ones one worker takes, the longest first."""
    for item in items:
        marks.mark(item, grouped=config.pluginmanager.hasplugin("xdist"))
    if hasattr(config, "workerinput"):
        items.sort(key=marks.turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold a test without such a mark to it: `make quick` stays quick whatever is added."""
    with marks.held(item):
        return (yield)


@pytest.fixture(autouse=True, scope="module")
def _kernels_as_before() -> Iterator[None]:
    """A file's tests may open another workspace's kernels; those after it find the modules that they imported."""

    def opened() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if f"{name}.".startswith(f"{loader.PACKAGE}.")}

    before = opened()
    yield
    for name in opened():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="session", autouse=True)
def own_device_locks() -> Iterator[None]:
    """Take device locks in this process where the commands started by tests take them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "folder", lambda: Path(QUIET_ENV["TMPDIR"]) / f"zmlx-{os.getuid()}")
        yield


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    made = Forker(QUIET_ENV)
    yield made
    made.close()


@pytest.fixture(scope="session")
def zmlx(forker: Forker) -> Zmlx:
    """Run `zmlx ARGUMENTS` to its end in a process of its own, as from a shell where it has another environment."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"env": QUIET_ENV, "timeout": 300, **options}
        command = [*ZMLX, *arguments]
        if forker.serves(options):
            return forker.run(command, **options)
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return run


@pytest.fixture
def zmlx_inside(capsys: pytest.CaptureFixture[str]) -> Iterator[Zmlx]:
    """Run `zmlx ARGUMENTS` to its end in this process: what it says is the same, without a second of imports."""
    held = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with contextlib.chdir(cwd or Path.cwd()), pytest.raises(SystemExit) as left:
            main([*arguments])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(left.value.code or 0), out, err)

    yield run
    signal.signal(signal.SIGTERM, held)  # the command takes it over


@pytest.fixture(scope="session")
def make_workspace(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Workspace]:
    """Return make(**kernels) -> a workspace with the packaged kernels and variants and the planted ones."""

    def make(*names: str) -> Workspace:
        made = workspaces.create(tmp_path_factory.mktemp("workspace") / "ws")
        for name in names:
            plant(made, name)
        return made

    return make


@pytest.fixture
def fresh_workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def repository() -> Workspace:
    """The checkout itself, which is a workspace."""
    return Workspace(Path(__file__).resolve().parents[1])


@pytest.fixture(scope="session")
def small() -> str:
    """Of `--checkpoint`: the smallest Qwen3 that there may be, for sessions not looked at for what their model says."""
    from tests import small  # the models that it makes need what this file holds

    return str(small.folder("qwen3"))


@pytest.fixture(scope="session", params=["qwen3", "glm47"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    """The tiny model of each family, loaded once; a test leaves it as it found it."""
    return Tiny.load(request.param)
