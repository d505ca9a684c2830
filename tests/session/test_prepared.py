"""A session that cannot be begun leaves nothing behind that keeps others from it."""

from __future__ import annotations

import pytest

from tests.prompts import TWO
from tests.session.conftest import MEASURED, Finished
from zmlx_bench.errors import CannotHere
from zmlx_bench.session import api, store
from zmlx_bench.session.request import EncodedBefore, Request
from zmlx_bench.workspace import Workspace


def test_a_plan_that_cannot_be_written_frees_the_session(undisturbed: Finished, fresh_workspace: Workspace) -> None:
    plan = undisturbed.session.plan
    assert plan.encoded is not None
    fresh_workspace.capsules.rmdir()
    fresh_workspace.capsules.write_text("no folder")
    request = Request(
        "qwen3", tokens=(5,), runs=1, variants=(MEASURED,), checkpoint="tiny", prompts=TWO, share_device=True,
        encoded_before=EncodedBefore(plan.checkpoint.digest, plan.prompts.sha256, plan.encoded), session="begun",
    )  # fmt: skip
    with pytest.raises(CannotHere, match=r"session\.json: cannot be written: "):
        api.prepare(fresh_workspace, request, lambda *_: None)
    assert store.holder(fresh_workspace, "begun") is None
