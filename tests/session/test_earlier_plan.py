"""A session that an earlier zmlx planned, a process for each budget, is finished as it was planned."""

from __future__ import annotations

from collections import Counter

import pytest

from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.protocol.plan import draw_up
from zmlx_bench.schema.event import WorkerEvent
from zmlx_bench.schema.plan import Job, Plan
from zmlx_bench.session import api, runner, store
from zmlx_bench.session.request import Request
from zmlx_bench.session.supervise import Outcome
from zmlx_bench.workspace import Workspace


class Silent:
    def job_started(self, job: Job) -> None: ...
    def event(self, job: Job, at: float, event: WorkerEvent) -> None: ...
    def job_ended(self, job: Job, outcome: Outcome) -> None: ...


def of_algorithm_1(plan: Plan) -> Plan:
    drawn = {name: getattr(plan, name) for name in Plan.model_fields if name not in ("algorithm", "jobs", "looks")}
    return draw_up(algorithm=1, **drawn)


@pytest.mark.process
def test_a_session_of_plan_algorithm_1_is_resumed_recorded_and_checked(
    fresh_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "WORKER_MODULE", "tests.reliability.standin")
    request = Request(
        family="qwen3", tokens=(3, 5), runs=1, variants=("qwen_qkv_joined",), checkpoint="tiny", backend="cpu",
        null_arm=False, prompts="primes", command=("zmlx",), share_device=True,
    )  # fmt: skip
    prepared = api.prepare(fresh_workspace, request, lambda *_: None)
    prepared.release()
    begun = prepared.session.model_copy(update={"plan": of_algorithm_1(prepared.session.plan)})
    store.write(fresh_workspace, begun)
    session, capsules = api.complete(api.reopen(fresh_workspace, begun.session, share_device=True), Silent())
    assert (session.state, session.resumed, session.plan.algorithm) == ("finished", 1, 1)
    kinds = Counter((job.kind, job.tokens) for job in session.plan.jobs)
    assert kinds == {("warmup", 3): 1, ("timed", 3): 2, ("timed", 5): 2, ("fidelity", 5): 1}
    assert [capsule.tokens for capsule in capsules] == [3, 5]
    runs = [run for capsule in capsules for run in (*capsule.runs.baseline, *capsule.runs.variant)]
    assert [run.of_tokens for run in runs] == [None] * 4
    assert len({run.job for run in runs}) == 4, "a process for each budget"
    assert check_workspace(fresh_workspace, processes=1).findings == ()
