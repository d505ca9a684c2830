"""A plan holds exactly the processes that DESIGN asks for, in an order that the seed fixes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.schema.strategies import example
from zmlx_bench.protocol.order import block_orders
from zmlx_bench.protocol.plan import arms_of, draw_up
from zmlx_bench.schema.plan import Checkpoint, Conditions, Plan, Timeouts
from zmlx_bench.schema.prompts import Prompt, PromptSet
from zmlx_bench.schema.variant import ResolvedVariant

CHECKPOINT = Checkpoint.model_validate(example(Checkpoint))
names = st.lists(st.from_regex(r"v[a-z]{1,4}", fullmatch=True), max_size=4, unique=True)


def _variant(name: str) -> ResolvedVariant:
    return ResolvedVariant.model_validate({**example(ResolvedVariant), "name": name, "env": {}})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    variants = [_variant(name) for name in draw(names)]
    incumbent = draw(st.sampled_from([None, _variant("incumbent"), *variants]))
    prompts = [Prompt(id=f"p{i}", domain="x", text="x") for i in range(draw(st.integers(1, 4)))]
    return draw_up(
        family="qwen3",
        checkpoint=CHECKPOINT,
        conditions=Conditions(),
        backend="cpu",
        tokens=draw(st.lists(st.integers(2, 2000), min_size=1, max_size=3)),
        blocks=draw(st.integers(1, 5)),
        seed=draw(st.integers(0, 99)),
        cooldown_s=0.0,
        timeouts=Timeouts(),
        prompts=PromptSet(prompt=tuple(prompts)),
        arms=arms_of(variants, incumbent, null_arm=draw(st.booleans())),
    )


@given(plans())
def test_jobs_are_numbered_in_their_order_after_one_discarded_warm_up(plan: Plan) -> None:
    assert [job.id for job in plan.jobs] == list(range(len(plan.jobs)))
    assert [job.kind for job in plan.jobs].count("warmup") == 1
    assert (plan.jobs[0].kind, plan.jobs[0].arm) == ("warmup", "baseline")


@given(plans())
def test_every_arm_runs_once_in_every_block_of_every_budget(plan: Plan) -> None:
    timed = Counter((job.tokens, job.block, job.arm) for job in plan.jobs if job.kind == "timed")
    wanted = {(t, b, arm.name) for t in plan.tokens for b in range(1, plan.blocks + 1) for arm in plan.arms}
    assert set(timed) == wanted
    assert set(timed.values()) == {1}
    assert all(job.prompts == (plan.prompts.prompt[0].id,) for job in plan.jobs if job.kind == "timed")


@given(plans())
def test_each_budget_has_an_order_of_its_own_fixed_by_the_seed(plan: Plan) -> None:
    arms = [arm.name for arm in plan.arms]
    for budget in plan.tokens:
        expected = block_orders(arms, plan.blocks, f"{plan.seed}/{budget}")
        for block in range(1, plan.blocks + 1):
            jobs = [j for j in plan.jobs if j.kind == "timed" and (j.tokens, j.block) == (budget, block)]
            assert tuple(j.arm for j in jobs) == expected[block - 1]
            assert [j.position for j in jobs] == list(range(1, len(arms) + 1))


@given(plans())
def test_fidelity_comes_last_once_an_arm_at_the_largest_budget(plan: Plan) -> None:
    fidelity = [job for job in plan.jobs if job.kind == "fidelity"]
    assert plan.jobs[len(plan.jobs) - len(fidelity) :] == tuple(fidelity)
    ids = tuple(prompt.id for prompt in plan.prompts.prompt)
    expected = {arm.name: ids[1:] for arm in plan.arms} | {"baseline": ids}
    assert {job.arm: job.prompts for job in fidelity} == {arm: found for arm, found in expected.items() if found}
    assert all(job.tokens == max(plan.tokens) and job.block is None for job in fidelity)


@given(plans())
def test_arms_are_distinct_and_the_incumbent_stands_once(plan: Plan) -> None:
    arms = [arm.name for arm in plan.arms]
    assert len(set(arms)) == len(arms)
    assert [arm.role for arm in plan.arms].count("incumbent") <= 1
    assert plan.arms[0].role == "baseline"
    assert plan.tokens == tuple(sorted(set(plan.tokens)))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
