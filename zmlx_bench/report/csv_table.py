"""The evidence as CSV: a row for each arm of each capsule, every figure with its paired ratio. docs/reading-a-report.md
says what each column is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from zmlx_bench.analysis.figures import derive, worst_status
from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import read_json, refuse_outside
from zmlx_bench.ledger.evidence_reader import Refusal
from zmlx_bench.printable import clean
from zmlx_bench.report import measures
from zmlx_bench.schema.base import Role
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.run import Run, RunSet
from zmlx_bench.workspace import Workspace

Row = dict[str, object]
ROLES: tuple[Role, ...] = ("variant", "incumbent", "null", "baseline")
ENDS = {"": "value", "_low": "low", "_high": "high"}
MEASURES = (
    "decode_tok_s", "prefill_tok_s", "context_prefill_tok_s", "ttft_ms", "token_p50_ms", "token_p95_ms",
    "token_p99_ms", "energy_j_per_token",
)  # fmt: skip
SHARED = (
    "capsule", "session", "time", "family", "checkpoint", "checkpoint_digest", "backend", "device", "cores", "mlx",
    "mlx_lm", "variant", "environment", "held_to", "tokens",
)  # fmt: skip
COLUMNS = (
    *SHARED[:6], *Conditions.model_fields, *SHARED[6:], "arm", "role", "status", "blocks",
    *(f"{name}{part}" for name in MEASURES for part in ("", *(f"_ratio{end}" for end in ENDS))),
    "fidelity", "matched_tokens", "total_tokens", "peak_mem_gb", "peak_rss_gb",
)  # fmt: skip


def table(workspace: Workspace, rows: Iterable[MatrixRow]) -> tuple[str, list[Refusal]]:
    """Return the capsules that the rows name as CSV with a header, and what of them cannot be used."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    refused = []
    for row in sorted(rows, key=lambda row: (row.session, row.tokens, row.capsule)):
        try:
            capsule = _capsule(workspace, row)
        except UnusableInput as error:
            refused.append(Refusal(clean(row.capsule), clean(str(error))))
            continue
        writer.writerows({name: _cell(value) for name, value in one.items()} for one in _arms(capsule, row))
    return out.getvalue(), refused


def _capsule(workspace: Workspace, row: MatrixRow) -> Capsule:
    path = workspace.root / row.capsule
    refuse_outside(workspace.root, path)
    capsule = read_json(path, Capsule)
    if not capsule.intact or capsule.content_sha256 != row.capsule_sha256:
        raise UnusableInput(f"{path}: is not the capsule that its row names; `zmlx check` says what does not hold")
    return capsule


def _arms(capsule: Capsule, row: MatrixRow) -> Iterator[Row]:
    common = {name: value for name, value in row if name in SHARED} | dict(row.conditions)
    for role in ROLES:
        runs: tuple[Run, ...] = getattr(capsule.runs, role)
        if runs:
            yield {**common, "arm": runs[0].arm, "role": role, **_arm(capsule, role)}


def _arm(capsule: Capsule, role: Role) -> Row:
    """Return what an arm's processes say: its figures are a variant's that is measured by them."""
    runs, untimed = (_as_variant(group, role) for group in (capsule.runs, capsule.fidelity_runs))
    prompts = [prompt.id for prompt in capsule.prompts.prompt]
    null_arm = capsule.protocol.null_arm and role in ("variant", "incumbent")
    found = derive(runs, untimed, capsule.outputs, capsule.tokens, prompts, null_arm, capsule.protocol.estimator)
    row: Row = {
        "status": worst_status((*runs.variant, *untimed.variant)),
        "blocks": sum(run.status == "ok" for run in runs.variant),
        "peak_mem_gb": found.memory.peak_mem_gb,
        "peak_rss_gb": found.memory.peak_rss_gb,
    }
    if found.fidelity is not None:
        row |= {name: getattr(found.fidelity, name) for name in ("matched_tokens", "total_tokens")}
        row["fidelity"] = found.fidelity.verdict
    for measure in measures.of_figures(found):
        row[measure.key] = measure.value
        if measure.ratio is not None:
            row |= {f"{measure.key}_ratio{end}": getattr(measure.ratio, name) for end, name in ENDS.items()}
    return row


def _as_variant(runs: RunSet, role: Role) -> RunSet:
    """Return an arm's runs in the variant's place; the null arm has the baseline alone to be compared with."""
    stock = {"variant": ("baseline", "null"), "incumbent": ("baseline", "null"), "null": ("baseline",), "baseline": ()}
    return RunSet.model_validate(
        {"variant": getattr(runs, role), **{name: getattr(runs, name) for name in stock[role]}}
    )


def _cell(value: object) -> object:
    """Return a value as it is written: text on one line, and none that a spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
