"""What is said to have changed between two identities."""

from __future__ import annotations

import pytest

from zmlx_bench.analysis.changed import changed, listed
from zmlx_bench.schema.identity import Identity


def identity(**parts: object) -> Identity:
    fields = {"formula": 1, "declaration": "0" * 64, "kernels": {"a": "1" * 64, "b": "2" * 64}, "path": "3" * 64}
    digest = "4" * 64 if not parts else "5" * 64
    return Identity.model_validate({**fields, "digest": digest, **parts})


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (identity(), ()),
        (identity(path="9" * 64), ("the measured path",)),
        (identity(kernels={"a": "1" * 64, "b": "9" * 64}), ("kernel b",)),
        (identity(kernels={"a": "9" * 64}, path="9" * 64), ("kernel a", "kernel b", "the measured path")),
        (identity(declaration="9" * 64), ("its declaration",)),
        (identity(formula=2), ("the formula of identities (1, now 2)",)),
    ],
)
def test_the_parts_that_differ_are_named(now: Identity, said: tuple[str, ...]) -> None:
    assert changed(identity(), now) == said


def test_parts_are_listed_as_people_do() -> None:
    assert listed(("a",)) == "a"
    assert listed(("a", "b", "c")) == "a, b and c"
