"""What cannot be asked is one line with the option's name, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zmlx_bench.bisect.ends import ends_of
from zmlx_bench.bisect.run import Bisecting, Question
from zmlx_bench.errors import ZmlxError
from zmlx_bench.workspace import Workspace

ENDS = ends_of("mlx-lm==0.32.1", "mlx-lm==0.32.2")


def never(*_: object) -> None:
    raise AssertionError("nothing is made or measured")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"tokens": 1}, "--tokens 1: must be at least 2"),
        ({"blocks": 2}, "--at-most 2: the policy decides nothing below 3 blocks"),
        ({"blocks": 10**6}, "--at-most 1000000: must be at most 1000"),
        ({"seed": -1}, "--seed -1: must not be negative"),
        ({"timeout_s": 0.0}, "--timeout 0: must be above 0"),
        ({"prompts": "nobody"}, "nobody"),
        ({"prompts": ""}, "--prompts: names no prompt"),
        ({"backend": "abacus"}, "unknown backend 'abacus'"),
    ],
)
def test_it_is_refused_before_a_package_is_looked_for(
    make_workspace: Callable[..., Workspace], changed: dict[str, object], says: str
) -> None:
    place = make_workspace()
    plain: dict[str, object] = {"family": "qwen3", "ends": ENDS, "on": "speed", "tokens": 200, "blocks": 40}
    question = Question(**(plain | changed))  # type: ignore[arg-type]
    with pytest.raises(ZmlxError) as refused:
        Bisecting(place, question, never, never).run()  # type: ignore[arg-type]
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (Path(place.root) / "bisections").exists()
