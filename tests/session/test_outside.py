"""`zmlx run` says so where the MLX, mlx-lm or Python of a session are not those that zmlx was tested with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.builders import BUDGETS, SOFTWARE, Made, add_session
from tests.conftest import Zmlx
from zmlx_bench.machine.tested import PYTHONS, TESTED
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

INSIDE = SOFTWARE.model_copy(
    update={"mlx": TESTED["mlx"].newest, "mlx_lm": TESTED["mlx-lm"].newest, "python": f"{PYTHONS[0]}.1"}
)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"mlx": "99.1"}, "mlx 99.1, not "),
        ({"mlx_lm": "0.1.0"}, "mlx-lm 0.1.0, not "),
        ({"python": "3.99.0"}, "Python 3.99.0, not "),
    ],
)
def test_a_run_under_versions_that_were_not_tested_says_so_once(
    make_workspace: Callable[..., Workspace], zmlx_inside: Zmlx, changes: dict[str, str], says: str | None
) -> None:
    place = make_workspace()
    session = add_session(place, 0, [Made("one")], budgets=BUDGETS[:1])
    session = store.write(place, session.model_copy(update={"software": INSIDE.model_copy(update=changes)}))
    # A session that has ended runs nothing more, and is shown as it was.
    done = zmlx_inside("run", "qwen3", "--resume", session.session, "--workspace", str(place.root))
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "zmlx was tested with: roundings may differ" in line]
    assert len(told) == (0 if says is None else 1)
    assert all(line.startswith(says or "") for line in told)
