"""How sessions at once and one after the other are compared."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.builders import Made, add_session, make_workspace
from tests.conftest import QUIET_ENV
from tests.fleet.scripted import device
from tests.scripts import ROOT, load
from zmlx_bench.ledger import matrix
from zmlx_bench.schema.fleet import Assigned, Collected, Ended, Seen
from zmlx_bench.schema.matrix import MatrixRow


@pytest.fixture(scope="module")
def per_host() -> ModuleType:
    return load("benchmarks/per_host.py")


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> MatrixRow:
    place = make_workspace(tmp_path_factory.mktemp("rows") / "ws")
    add_session(place, 0, [Made("fast", 0.05)])
    return matrix.read(place.matrix)[0]


@pytest.mark.parametrize(
    ("parallel", "serial", "value", "small"),
    [
        ((1.5, 1.495, 1.505), (1.5, 1.495, 1.505), 0.0, True),
        ((1.5, 1.495, 1.505), (1.53, 1.525, 1.535), math.log(1.5 / 1.53), False),
        ((1.5, 1.40, 1.60), (1.5, 1.495, 1.505), 0.0, False),
    ],
)
def test_the_interval_of_the_difference_decides(
    per_host: ModuleType,
    row: MatrixRow,
    parallel: tuple[float, ...],
    serial: tuple[float, ...],
    value: float,
    small: bool,
) -> None:
    rows = [
        row.model_copy(update=dict(zip(("speedup", "speedup_low", "speedup_high"), figures, strict=True)))
        for figures in (parallel, serial)
    ]
    found = per_host.difference(*rows)
    assert found.value == pytest.approx(value)
    assert found.small is small
    assert per_host.difference(rows[0], rows[1].model_copy(update={"speedup": None})) is None


def assigned(at: float, session: str, where: str) -> Assigned:
    return Assigned(at=at, family="qwen3", number=1, device=where, session=session)


def test_how_much_of_a_session_had_another_beside_it(per_host: ModuleType) -> None:
    """The first was resumed after a pause; what was not collected is left out."""
    found = per_host.ran(
        [
            Seen(at=1, device=device("h")),
            assigned(10, "a", "h/0"),
            assigned(10, "b", "h/1"),
            Ended(at=20, session="a", outcome="interrupted"),
            assigned(30, "a", "h/0"),
            Ended(at=40, session="b", outcome="finished"),
            Ended(at=60, session="a", outcome="finished"),
            Collected(at=61, session="a"),
            Collected(at=61, session="b"),
            assigned(70, "c", "h/0"),
        ]
    )
    assert {session: one.device for session, one in found.items()} == {"a": "h/0", "b": "h/1"}
    assert found["a"].spans == [(10, 20), (30, 60)]
    assert found["a"].beside(found.values()) == pytest.approx(20 / 40)
    assert found["b"].beside(found.values()) == pytest.approx(20 / 30)
    assert found["a"].beside([found["a"]]) == 0


@pytest.mark.parametrize(
    ("small", "least", "said"),
    [
        ([True, True], 0.9, "within 1%: --per-host may be raised"),
        ([True, False], 0.9, "not within 1%: --per-host stays 1"),
        ([], 0.9, "nothing to compare, no session has a row: --per-host stays 1"),
        ([True, True], 0.3, "nothing said, a session ran beside another for 30% of its time only: --per-host stays 1"),
    ],
)
def test_no_rows_and_too_little_overlap_say_nothing(
    per_host: ModuleType, small: list[bool], least: float, said: str
) -> None:
    assert per_host.verdict(small, least) == said


OPTIONS = (
    "qwen3", "glm47", "--variants", "qwen_qkv_joined,glm_combine_exact", "--checkpoint", "tiny", "--tokens", "4",
    "--runs", "2", "--no-null", "--prompts", "primes",
)  # fmt: skip
TWO = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.scripts import load
from zmlx_bench.fleet import local
per_host = load("benchmarks/per_host.py")
if sys.argv[1:2] == ["fleet"]:
    survey = local.site.survey
    def two():
        (one,) = survey()
        for number in range(2):
            place = Path({folder!r}) / str(number)
            place.mkdir(exist_ok=True)
            yield one.model_copy(update=dict(device=f"made/cpu-{{number}}", select=dict(TMPDIR=str(place))))
    local.site.survey = lambda: list(two())
    from zmlx_bench.cli.main import main
    main()
else:
    per_host.ZMLX = (sys.executable, __file__)
    sys.exit(per_host.main(sys.argv[1:]))
"""
"""The benchmark on a machine that pretends to have two devices: each has locks of its own."""


@pytest.mark.slow
def test_it_goes_on_where_a_time_limit_ended_it(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO.format(root=str(ROOT), folder=str(tmp_path)))
    command = [sys.executable, str(script), "--state", str(tmp_path / "state"), *OPTIONS]
    env = {**QUIET_ENV, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    begun = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while (
        sum(b'"kind":"end"' in path.read_bytes() for path in tmp_path.glob("cache/zmlx/fleet/*/capsules/*/*.jsonl")) < 2
    ):
        assert begun.poll() is None, begun.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    begun.send_signal(signal.SIGTERM)
    _, err = begun.communicate(timeout=120)
    assert begun.returncode == 143
    assert "the fleet with --per-host 2 ended with exit code 143 and is not done\n" in err

    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(" goes on\n") == 1
    lines = done.stdout.splitlines()
    ran = [line for line in lines if line.startswith(("at once: ", "one after the other: "))]
    assert sorted({line.split(" on ")[1].split(",")[0] for line in ran[:2]}) == ["made/cpu-0", "made/cpu-1"]
    assert ", 0% of them beside" not in "".join(ran[:2])
    assert "".join(ran[2:]).count(", 0% of them beside another session") == 2
    assert sum(" at once, " in line and "%" in line for line in lines) == 2
    assert sum("stock: " in line for line in lines) == 2
    assert lines[-1].endswith((": --per-host may be raised", ": --per-host stays 1"))

    again = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "fleet run" not in again.stderr
    other = subprocess.run([*command, "--seed", "1"], env=env, capture_output=True, text=True, check=False)
    assert (other.returncode, other.stdout) == (3, "")
    assert "state: was begun with qwen3 glm47" in other.stderr
