"""The gates that do not depend on the other variants: fidelity, status, memory, measurement, prompts, prefill.

Each function returns gates; none decides a verdict. A gate that failed names the worst capsule's figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from zmlx_bench.analysis.decision import nearness
from zmlx_bench.analysis.decision.evidence import ArmEvidence, BudgetEvidence, SessionEvidence
from zmlx_bench.analysis.decision.outliers import set_aside
from zmlx_bench.analysis.decision.statistics import biased, interval
from zmlx_bench.analysis.decision.verdict import Gate, Outcome
from zmlx_bench.schema.figures import Fidelity, Figures
from zmlx_bench.schema.policy import Policy


def judged(arm: ArmEvidence, policy: Policy) -> list[BudgetEvidence]:
    """Return the arm's capsules at the policy's budgets, ascending; of others only that tokens differ counts."""
    return [arm.budgets[tokens] for tokens in sorted(policy.min_blocks) if tokens in arm.budgets]


def faithful(arm: ArmEvidence, policy: Policy) -> list[Gate]:
    """Whether its output is what it is declared to be: every token of the baseline, or near."""
    return nearness.gates(arm, policy) if arm.near else [fidelity(arm, policy)]


def fidelity(arm: ArmEvidence, policy: Policy) -> Gate:
    """Every token of every prompt at every budget; unknown where the baseline does not repeat itself."""
    for budget in (arm.budgets[tokens] for tokens in sorted(arm.budgets)):
        differs, tokens = _differs(budget), budget.figures.fidelity
        if tokens is not None and (differs or (budget.tokens in policy.min_blocks and tokens.verdict != "identical")):
            figure = f"{tokens.matched_tokens}/{tokens.total_tokens}"
            if differs:
                text = f"at {budget.tokens} tokens {figure} tokens match the baseline{_divergence(tokens)}"
                return Gate("fidelity", "fail", figure, "all", (budget.capsule,), text)
            text = f"at {budget.tokens} tokens the outputs differ, but the baseline does not repeat itself either"
            return Gate("fidelity", "unknown", figure, "all", (budget.capsule,), text)
    found = [(b, b.figures.fidelity) for b in judged(arm, policy) if b.figures.fidelity is not None]
    if not found:
        return Gate("fidelity", "unknown", None, "all", _paths(arm, policy), "no outputs were compared")
    matched, total = sum(t.matched_tokens for _, t in found), sum(t.total_tokens for _, t in found)
    text = f"all {total} tokens match the baseline"
    return Gate("fidelity", "pass", f"{matched}/{total}", "all", tuple(b.capsule for b, _ in found), text)


def differs_elsewhere(arm: ArmEvidence, policy: Policy) -> bool:
    """Whether tokens differ at a budget that the policy does not ask for, where the arm is held to every token."""
    return not arm.near and any(_differs(b) for b in arm.budgets.values() if b.tokens not in policy.min_blocks)


def _differs(budget: BudgetEvidence) -> bool:
    """Whether tokens are not the baseline's though the stock model repeats its own."""
    found = budget.figures.fidelity
    if found is None or found.verdict == "identical":
        return False
    return found.baseline_repeats is not False and found.null_identical is not False


def _divergence(found: Fidelity) -> str:
    """Return where the tokens of the prompt that leaves the baseline's first do so."""
    first = min((p for p in found.prompts if not p.identical), key=lambda p: p.matched, default=None)
    return "" if first is None else f" (prompt {first.prompt}, token {first.matched})"


def status(arm: ArmEvidence, policy: Policy) -> Gate:
    """Every process of the variant ended well."""
    for wanted in ("oom", "crash", "timeout", "unavailable"):
        for budget in judged(arm, policy):
            if budget.status == wanted:
                outcome: Outcome = "unknown" if wanted == "unavailable" else "fail"
                text = f"at {budget.tokens} tokens: {wanted}: {budget.message or 'no message'}"
                return Gate("status", outcome, wanted, "ok", (budget.capsule,), text)
    return Gate("status", "pass", "ok", "ok", _paths(arm, policy), "every process ended well")


def memory(arm: ArmEvidence, policy: Policy) -> list[Gate]:
    """Peak memory as MLX counts it, and the process's resident set, on macOS its footprint, against the baseline's."""
    return [
        _excess(
            "memory",
            "peak memory",
            arm,
            policy,
            lambda f: (f.memory.peak_mem_gb, f.baseline_memory.peak_mem_gb),
            policy.memory_tolerance,
            policy.memory_slack_gb,
        ),
        _excess(
            "resident",
            "footprint" if _footprints(arm, policy) else "resident set",
            arm,
            policy,
            _footprint if _footprints(arm, policy) else _resident,
            policy.resident_tolerance,
            policy.resident_slack_gb,
        ),
    ]


def _footprints(arm: ArmEvidence, policy: Policy) -> bool:
    """Whether macOS's footprint is known, which counts what Metal wires and the compressor holds."""
    pairs = [_footprint(budget.figures) for budget in judged(arm, policy)]
    return bool(pairs) and all(None not in pair for pair in pairs)


def _footprint(figures: Figures) -> tuple[float | None, float | None]:
    return figures.memory.peak_footprint_gb, figures.baseline_memory.peak_footprint_gb


def _resident(figures: Figures) -> tuple[float | None, float | None]:
    return figures.memory.peak_rss_gb, figures.baseline_memory.peak_rss_gb


def _excess(
    gate: str,
    what: str,
    arm: ArmEvidence,
    policy: Policy,
    of: Callable[[Figures], tuple[float | None, float | None]],
    tolerance: float,
    slack_gb: float,
) -> Gate:
    worst: tuple[float, float, float, BudgetEvidence] | None = None
    for budget in judged(arm, policy):
        ours, stock = of(budget.figures)
        if ours is None or stock is None:
            continue
        limit = max(stock * (1 + tolerance), stock + slack_gb)
        if worst is None or ours - limit > worst[0]:
            worst = (ours - limit, ours, limit, budget)
    if worst is None:
        return Gate(gate, "unknown", None, tolerance, _paths(arm, policy), f"{what} was not measured")
    over, ours, limit, budget = worst
    text = f"{what} {ours:.2f} GB at {budget.tokens} tokens, {limit:.2f} GB allowed"
    return Gate(gate, "fail" if over > 0 else "pass", ours, limit, (budget.capsule,), text)


def session_bias(session: SessionEvidence, policy: Policy) -> list[Gate]:
    """Whether there was a null arm, and whether it differs from the baseline beyond chance."""
    budgets = [b for arm in session.arms for b in judged(arm, policy)]
    if not session.null_arm:
        text = "the session ran without a null arm, so nothing shows that its arms are comparable"
        return [Gate("null_arm", "fail", "off", "on", tuple(b.capsule for b in budgets), text)]
    gates = [Gate("null_arm", "pass", "on", "on", tuple(b.capsule for b in budgets), "the null arm was measured")]
    worst: tuple[float, BudgetEvidence] | None = None
    for budget in budgets:
        null = budget.estimate(budget.null)
        if biased(null, policy.bias_level) and (worst is None or abs(float(null.mean)) > abs(worst[0])):
            worst = (float(null.mean), budget)
    level = f"{policy.bias_level:.0%} interval holds 1"
    if worst is not None:
        figure = math.exp(worst[0])
        low, high = interval(worst[1].estimate(worst[1].null), policy.bias_level)
        text = (
            f"two equal arms differ at {worst[1].tokens} tokens: {figure:.4f}x "
            f"[{math.exp(low):.4f}, {math.exp(high):.4f}]"
        )
        return [*gates, Gate("bias", "fail", figure, level, (worst[1].capsule,), text)]
    text = "two equal arms do not differ beyond chance"
    return [*gates, Gate("bias", "pass", None, level, tuple(b.capsule for b in budgets), text)]


def outliers(arm: ArmEvidence, policy: Policy) -> list[Gate]:
    """Whether the slow processes that the estimate set aside are the variant's own and eat its gain: see `outliers`.

    Evidence that rests on means sets nothing aside and has no such gate.
    """
    gates = []
    for budget in judged(arm, policy):
        if budget.estimator == "mean" or not budget.gain:
            continue
        found = set_aside(budget.gain, budget.estimator, policy)
        plain, needed = math.exp(found.plain), math.exp(found.needed)
        text = (
            f"at {budget.tokens} tokens the estimate sets aside {found.below:.1f} blocks in which the variant is slow "
            f"and {found.above:.1f} in which the stock model is; with them the mean is {plain:.3f}x"
        )
        if found.mostly_own:
            text += f", above {needed:.3f}x needed"
        outcome: Outcome = "fail" if found.eats_the_gain else "pass"
        gates.append(Gate("outliers", outcome, plain, needed, (budget.capsule,), text))
    return gates


def measurement(arm: ArmEvidence, policy: Policy) -> list[Gate]:
    """Whether the clocks agree, the machine held its speed, and the variant's kernels ran at all."""
    budgets = judged(arm, policy)
    clocks = [(off, b) for b in budgets if (off := b.figures.clock_disagreement) is not None]
    gates = []
    if clocks:
        off, budget = max(clocks, key=lambda pair: pair[0])
        text = f"the clocks of worker and supervisor differ by up to {off:.2%}, {policy.clock_disagreement:.0%} allowed"
        outcome: Outcome = "fail" if off > policy.clock_disagreement else "pass"
        gates.append(Gate("clock", outcome, off, policy.clock_disagreement, (budget.capsule,), text))
    else:
        text = "decode was not timed by both clocks"
        gates.append(Gate("clock", "unknown", None, policy.clock_disagreement, _paths(arm, policy), text))
    throttled = [b for b in budgets if b.figures.throttled]
    if throttled:
        text = f"the machine throttled at {throttled[0].tokens} tokens"
        gates.append(Gate("throttle", "fail", "yes", "no", _capsules(throttled), text))
    else:
        known = any(b.figures.throttled is not None for b in budgets)
        text = "no throttling was reported" if known else "this platform does not report throttling"
        gates.append(Gate("throttle", "pass" if known else "unknown", None, "no", _paths(arm, policy), text))
    gates += _compressed(budgets, policy)
    idle = [b for b in budgets if b.idle_kernels]
    if idle:
        names = ", ".join(idle[0].idle_kernels)
        text = f"never called at {idle[0].tokens} tokens: {names}; the stock model was measured in their place"
        gates.append(Gate("applied", "fail", names, "all kernels", _capsules(idle), text))
    return gates


def _compressed(budgets: Iterable[BudgetEvidence], policy: Policy) -> list[Gate]:
    """Whether macOS compressed memory while it was measured; nothing where there is no such compressor."""
    known = [(grew, b) for b in budgets if (grew := b.figures.compressed_gb) is not None]
    if not known:
        return []
    grew, budget = max(known, key=lambda pair: pair[0])
    most = policy.resident_slack_gb
    text = f"macOS compressed up to {grew:.2f} GB more while a process ran, {most:.2f} GB allowed"
    return [Gate("compressed", "fail" if grew > most else "pass", grew, most, (budget.capsule,), text)]


def prompts(arm: ArmEvidence, policy: Policy) -> list[Gate]:
    """Whether identity, or being near, was shown on enough prompts, and whether the null arm shows it too."""
    found = [(b, b.figures.fidelity) for b in judged(arm, policy) if b.figures.fidelity is not None]
    gates = []
    for budget, tokens in found:
        if tokens.null_identical is False or tokens.baseline_repeats is False:
            text = f"the stock model does not repeat its own tokens at {budget.tokens} tokens"
            gates.append(Gate("repeatable", "fail", "differs", "identical", (budget.capsule,), text))
            break
    if arm.near:
        return [*gates, *nearness.enough(arm, policy)]
    if found:
        budget = min((b for b, _ in found), key=lambda b: b.counting_prompts)
        count = budget.counting_prompts
        text = f"{count} prompts count at {budget.tokens} tokens, {policy.min_prompts} needed"
        outcome: Outcome = "pass" if count >= policy.min_prompts else "fail"
        gates.append(Gate("prompts", outcome, count, policy.min_prompts, (budget.capsule,), text))
    return gates


def prefill(arm: ArmEvidence, policy: Policy) -> Gate:
    """Prefill speed at the worst budget."""
    least = 1 - policy.prefill_tolerance
    # A context is what is prefilled mostly, where there is one.
    each = [(b.figures.context_prefill or b.figures.prefill, b) for b in judged(arm, policy)]
    known = [(found.value, b) for found, b in each if found is not None]
    if not known:
        return Gate("prefill", "unknown", None, least, _paths(arm, policy), "prefill was not measured")
    ratio, budget = min(known, key=lambda pair: pair[0])
    text = f"prefill {ratio:.3f}x at {budget.tokens} tokens, at least {least:.2f}x needed"
    return Gate("prefill", "pass" if ratio >= least else "fail", ratio, least, (budget.capsule,), text)


def _paths(arm: ArmEvidence, policy: Policy) -> tuple[str, ...]:
    return _capsules(judged(arm, policy))


def _capsules(budgets: Iterable[BudgetEvidence]) -> tuple[str, ...]:
    return tuple(budget.capsule for budget in budgets)
