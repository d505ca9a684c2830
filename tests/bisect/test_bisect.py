"""`zmlx bisect` on planted releases: environments that are made, sessions that run, an answer that stands."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bisect.planted import PACKAGE, on_one_processor, plant
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
        # Sessions of up to 120 blocks, on whatever else the machine does.
        return self._zmlx(
            *self.options(good, bad, on, *more), env=self.environment, timeout=7200, preexec_fn=on_one_processor
        )

    def check(self) -> subprocess.CompletedProcess[str]:
        return self._zmlx("check", "--workspace", str(self.place.root), env=self.environment)

    def sessions(self) -> list[str]:
        return sorted(path.parent.name for path in self.place.capsules.glob("*/session.json"))

    def state(self) -> Bisection:
        (path,) = (self.place.root / "bisections").glob("*.json")
        return Bisection.model_validate_json(path.read_bytes())


@pytest.fixture
def ground(make_workspace: Callable[..., Workspace], zmlx: Zmlx, tmp_path: Path) -> Ground:
    return Ground(tmp_path, make_workspace("no_op"), zmlx)


@pytest.mark.slow
def test_the_release_that_changed_a_token_is_found_and_goes_on_from_where_it_was_killed(ground: Ground) -> None:
    plant(ground.wheels, {"1.0": "nothing", "1.1": "nothing", "1.2": "rounding"})
    command = [*ZMLX, *ground.options("1.0", "1.2", "tokens", "--tokens", "12")]
    process = subprocess.Popen(
        command,
        env=ground.environment,
        preexec_fn=on_one_processor,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 300
    while len(ground.sessions()) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = ground.sessions()
    assert len(before) == 2
    done = ground.bisect("1.0", "1.2", "tokens", "--tokens", "12", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["answer"].startswith(f"tokens changed between {PACKAGE} 1.1 and 1.2: first other token ")
    assert told["outcome"]["with_it"] == []
    assert ground.sessions() == before, done.stderr
    state = ground.state()
    assert state.ends is not None
    assert [(step.version, step.said) for step in (*state.steps, state.ends)] == [("1.1", "good"), ("1.2", "bad")]
    checked = ground.check()
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_the_changed_token_is_found_among_eight_releases_past_one_that_is_broken(ground: Ground) -> None:
    plant(ground.wheels, {**_many("rounding"), "1.4": "broken"})
    done = ground.bisect("1.0", "1.7", "tokens", "--tokens", "24")
    assert done.returncode == 0, done.stderr
    assert f"tokens changed between {PACKAGE} 1.3 and 1.5, past 1.4, which cannot be run: first other" in done.stdout
    assert "planted: it does not load" in done.stdout
    assert ground.check().returncode == 0
    again = ground.bisect("1.0", "1.7", "tokens", "--tokens", "24")
    assert again.stdout == done.stdout


@pytest.mark.slow
def test_a_tenth_slower_is_found_among_eight_releases_or_left_undecided_but_never_misplaced(ground: Ground) -> None:
    plant(ground.wheels, _many("slower"))
    done = ground.bisect("1.0", "1.7", "speed", "--tokens", "128", "--json")
    assert done.returncode in (0, 2), done.stderr
    told = json.loads(done.stdout)["outcome"]
    assert told["last_good"] <= "1.4"
    assert told["first_bad"] >= "1.5"
    assert ground.check().returncode == 0


@pytest.mark.slow
def test_equal_releases_do_not_differ_in_memory(ground: Ground) -> None:
    plant(ground.wheels, {"1.0": "nothing", "1.1": "nothing"})
    done = ground.bisect("1.0", "1.1", "memory", "--tokens", "8")
    assert done.returncode == 1, done.stderr
    assert f"{PACKAGE} 1.0 and 1.1 do not differ in memory" in done.stdout


def _many(change: str) -> dict[str, str]:
    return {f"1.{n}": "nothing" if n < 5 else change for n in range(8)}
