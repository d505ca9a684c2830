"""The rules of the decision by their numbers, and a group's evidence as an earlier one saw it."""

from __future__ import annotations

from zmlx_bench.analysis.decision import conditions, nearness
from zmlx_bench.analysis.decision.evidence import GroupEvidence, at_budgets, under_bytes, without_stock
from zmlx_bench.schema.policy import Policy

RULE = 5
"""Number of this rule. A change that can turn a verdict of old evidence raises it: entries of the notebook are decided
again under the rule that they say they followed, and promotions under this one, but for those of the first.

1: evidence is bound to the bytes of its kernels.
2: it is bound to the meaning of all that ran between two tokens, and sessions must call each site equally often.
3: what sessions estimated by anything but the mean may have missed of a variant's stalls must leave a gain.
4: tokens that differ reject at every budget that was measured, not only at those that the policy asks for, and the
   same code under every name.
5: nothing is near to a reference that stock is not near to.
"""
RULE_OF_BYTES = 1
RULE_OF_MEANS = 2
"""The newest rule for evidence that is estimated by means, which the third is not about."""
RULE_OF_BUDGETS = 3
"""The newest rule for evidence whose tokens differ at the policy's budgets and under one name of a code only, which the
fourth is not about.
"""
RULE_OF_TOKENS = 4
"""The newest rule for evidence without an audit of a near variant, which the fifth is not about; so no default rests on
a newer one.
"""


def differs_elsewhere(group: GroupEvidence, policy: Policy) -> bool:
    """Whether tokens differ at a budget that the policy does not ask for."""
    return any(conditions.differs_elsewhere(arm, policy) for session in group.sessions for arm in session.arms)


def audited(group: GroupEvidence) -> bool:
    """Whether stock's own distance from the reference is asked for a near variant."""
    return any(nearness.asks_stock(arm) for session in group.sessions for arm in session.arms)


def seen_by(rule: int, group: GroupEvidence, policy: Policy) -> GroupEvidence:
    """Return a group as `rule` sees it, the same object where it sees all of it."""
    if rule <= RULE_OF_TOKENS and audited(group):
        group = without_stock(group)
    if rule <= RULE_OF_BUDGETS and differs_elsewhere(group, policy):
        group = at_budgets(group, policy.min_blocks)
    return under_bytes(group) if rule == RULE_OF_BYTES else group
