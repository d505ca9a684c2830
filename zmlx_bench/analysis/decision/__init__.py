"""The decision: from evidence to verdicts, as pure functions; the rule stands in docs and `variants/policy.toml`."""

from zmlx_bench.analysis.decision.evidence import (
    ArmEvidence,
    BudgetEvidence,
    GroupEvidence,
    GroupKey,
    SessionEvidence,
)
from zmlx_bench.analysis.decision.group import decide_group
from zmlx_bench.analysis.decision.rules import RULE, RULE_OF_BYTES, RULE_OF_MEANS
from zmlx_bench.analysis.decision.session import judge_session
from zmlx_bench.analysis.decision.verdict import BudgetFigures, Gate, GroupDecision, GroupVerdict, SessionVerdict

__all__ = [
    "RULE",
    "RULE_OF_BYTES",
    "RULE_OF_MEANS",
    "ArmEvidence",
    "BudgetEvidence",
    "BudgetFigures",
    "Gate",
    "GroupDecision",
    "GroupEvidence",
    "GroupKey",
    "GroupVerdict",
    "SessionEvidence",
    "SessionVerdict",
    "decide_group",
    "judge_session",
]
