"""A plan holds exactly the processes that DESIGN asks for, in an order that the seed fixes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.schema.strategies import example
from zmlx_bench.protocol.order import block_orders, placed_orders
from zmlx_bench.protocol.plan import ALGORITHM, arms_of, draw_up
from zmlx_bench.schema.plan import Checkpoint, Conditions, Plan, Timeouts
from zmlx_bench.schema.prompts import Prompt, PromptSet
from zmlx_bench.schema.variant import ResolvedVariant

CHECKPOINT = Checkpoint.model_validate(example(Checkpoint))
names = st.lists(st.from_regex(r"v[a-z]{1,4}", fullmatch=True), max_size=4, unique=True)


def _variant(name: str) -> ResolvedVariant:
    return ResolvedVariant.model_validate({**example(ResolvedVariant), "name": name, "env": {}})


@st.composite
def plans(draw: st.DrawFn, algorithm: int = ALGORITHM) -> Plan:
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
        audit_positions=draw(st.sampled_from([None, 2])),
        algorithm=algorithm,
    )


@given(plans())
def test_the_first_process_is_untimed_and_the_baselines_and_no_process_is_discarded(plan: Plan) -> None:
    assert [job.id for job in plan.jobs] == list(range(len(plan.jobs)))
    assert "warmup" not in {job.kind for job in plan.jobs}
    assert (plan.jobs[0].kind, plan.jobs[0].arm) == ("fidelity", "baseline")


@given(plans())
def test_every_arm_runs_once_in_every_block_and_serves_every_budget(plan: Plan) -> None:
    timed = [job for job in plan.jobs if job.kind == "timed"]
    wanted = {(block, arm.name) for block in range(1, plan.blocks + 1) for arm in plan.arms}
    assert Counter((job.block, job.arm) for job in timed) == Counter(wanted)
    assert {job.budgets for job in timed} == {plan.tokens}
    assert {job.prompts for job in timed} == {(plan.prompts.prompt[0].id,)}


@given(st.one_of(plans(2), plans(3)))
def test_the_order_of_the_arms_is_fixed_by_the_seed(plan: Plan) -> None:
    arms = [arm.name for arm in plan.arms]
    orders = {2: block_orders, 3: placed_orders}[plan.algorithm]
    expected = orders(arms, plan.blocks, f"{plan.seed}")
    for block in range(1, plan.blocks + 1):
        jobs = [job for job in plan.jobs if job.block == block]
        assert tuple(job.arm for job in jobs) == expected[block - 1]
        assert [job.position for job in jobs] == list(range(1, len(arms) + 1))


@given(plans())
def test_no_process_generates_what_another_has_but_for_the_margins_of_the_timed_prompt(plan: Plan) -> None:
    timed, *others = (prompt.id for prompt in plan.prompts.prompt)
    generated = Counter((job.arm, prompt) for job in plan.jobs if job.kind == "fidelity" for prompt in job.prompts)
    assert generated == Counter([("baseline", timed), *((arm.name, other) for arm in plan.arms for other in others)])
    fidelity = [job for job in plan.jobs if job.kind == "fidelity"]
    assert all(job.tokens == max(plan.tokens) and not job.prefixes for job in fidelity)


@given(plans())
def test_variants_are_audited_last_on_every_prompt(plan: Plan) -> None:
    audits = [job for job in plan.jobs if job.kind == "audit"]
    here = [arm.name for arm in plan.arms if arm.variant is not None and arm.variant.environment is None]
    wanted = here if plan.audit_positions is not None else []
    assert [job.arm for job in audits] == wanted
    assert plan.jobs[len(plan.jobs) - len(audits) :] == tuple(audits)
    assert all(job.prompts == tuple(prompt.id for prompt in plan.prompts.prompt) for job in audits)


@given(plans(1))
def test_algorithm_1_has_one_discarded_warm_up_first(plan: Plan) -> None:
    assert [job.id for job in plan.jobs] == list(range(len(plan.jobs)))
    assert [job.kind for job in plan.jobs].count("warmup") == 1
    assert (plan.jobs[0].kind, plan.jobs[0].arm) == ("warmup", "baseline")


@given(plans(1))
def test_algorithm_1_runs_every_arm_once_in_every_block_of_every_budget_in_an_order_of_its_own(plan: Plan) -> None:
    arms = [arm.name for arm in plan.arms]
    timed = [job for job in plan.jobs if job.kind == "timed"]
    wanted = {(t, b, arm) for t in plan.tokens for b in range(1, plan.blocks + 1) for arm in arms}
    assert Counter((job.tokens, job.block, job.arm) for job in timed) == Counter(wanted)
    assert not any(job.prefixes for job in timed)
    for budget in plan.tokens:
        expected = block_orders(arms, plan.blocks, f"{plan.seed}/{budget}")
        for block in range(1, plan.blocks + 1):
            jobs = [job for job in timed if (job.tokens, job.block) == (budget, block)]
            assert tuple(job.arm for job in jobs) == expected[block - 1]
            assert [job.position for job in jobs] == list(range(1, len(arms) + 1))


@given(plans(1))
def test_algorithm_1_asks_for_fidelity_after_the_blocks_at_the_largest_budget(plan: Plan) -> None:
    fidelity = [job for job in plan.jobs if job.kind == "fidelity"]
    last = max(job.id for job in plan.jobs if job.kind == "timed")
    ids = tuple(prompt.id for prompt in plan.prompts.prompt)
    expected = {arm.name: ids[1:] for arm in plan.arms} | {"baseline": ids}
    assert {job.arm: job.prompts for job in fidelity} == {arm: found for arm, found in expected.items() if found}
    assert all(job.tokens == max(plan.tokens) and job.id > last for job in fidelity)


@given(plans())
def test_arms_are_distinct_and_the_incumbent_stands_once(plan: Plan) -> None:
    arms = [arm.name for arm in plan.arms]
    assert len(set(arms)) == len(arms)
    assert [arm.role for arm in plan.arms].count("incumbent") <= 1
    assert plan.arms[0].role == "baseline"
    assert plan.tokens == tuple(sorted(set(plan.tokens)))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
