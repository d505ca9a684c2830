"""`zmlx bisect` on planted releases: environments that are made, sessions that run, an answer that stands."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bisect.planted import PACKAGE, plant
from tests.conftest import ZMLX, Zmlx
from tests.wheels import borrowed, of_index
from zmlx_bench.schema.bisection import Bisection
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process
PROMPT = """schema_version = 1
[[prompt]]
id = "short"
domain = "prose"
text = "Once upon a time there was a lighthouse keeper who"
"""


class Ground:
    """A workspace, wheels of MLX as it is here, and planted releases."""

    def __init__(self, root: Path, place: Workspace, zmlx: Zmlx) -> None:
        self.place, self._zmlx = place, zmlx
        borrowed(root / "index")
        self.wheels = root / "wheels"
        self.environment = of_index(root / "index", root / "cache")
        self.prompts = root / "prompts.toml"
        self.prompts.write_text(PROMPT)

    def options(self, good: str, bad: str, on: str, *more: str) -> tuple[str, ...]:
        return (
            "bisect", "qwen3", "--good", f"{PACKAGE}=={good}", "--bad", f"{PACKAGE}=={bad}", "--on", on,
            "--find-links", str(self.wheels), "--checkpoint", "tiny", "--backend", "cpu", "--share-device",
            "--prompts", str(self.prompts), "--workspace", str(self.place.root), *more,
        )  # fmt: skip

    def bisect(self, good: str, bad: str, on: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self._zmlx(*self.options(good, bad, on, *more), env=self.environment)

    def sessions(self) -> list[str]:
        return sorted(path.parent.name for path in self.place.capsules.glob("*/session.json"))

    def state(self) -> Bisection:
        (path,) = (self.place.root / "bisections").glob("*.json")
        return Bisection.model_validate_json(path.read_bytes())


@pytest.fixture
def ground(make_workspace: Callable[..., Workspace], zmlx: Zmlx, tmp_path: Path) -> Ground:
    return Ground(tmp_path, make_workspace("no_op"), zmlx)


def test_the_release_that_changed_a_token_is_found_and_goes_on_from_where_it_was_killed(ground: Ground) -> None:
    plant(ground.wheels, {"1.0": "nothing", "1.1": "nothing", "1.2": "rounding"})
    command = [*ZMLX, *ground.options("1.0", "1.2", "tokens", "--tokens", "24")]
    process = subprocess.Popen(command, env=ground.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while len(ground.sessions()) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = ground.sessions()
    assert len(before) == 2
    done = ground.bisect("1.0", "1.2", "tokens", "--tokens", "24", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["answer"].startswith(f"tokens changed between {PACKAGE} 1.1 and 1.2: first other token ")
    assert told["outcome"]["with_it"] == []
    assert ground.sessions() == before
    state = ground.state()
    assert state.ends is not None
    assert [(step.version, step.said) for step in (*state.steps, state.ends)] == [("1.1", "good"), ("1.2", "bad")]
    # What is known is told again at once.
    assert json.loads(ground.bisect("1.0", "1.2", "tokens", "--tokens", "24", "--json").stdout) == told
