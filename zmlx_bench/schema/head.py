"""A capsule without the raw records that only `zmlx check` needs: a report reads many."""

from __future__ import annotations

from zmlx_bench.schema.base import Raw


def head(capsule: Raw) -> Raw:
    """Return the document of a capsule with the variant's failed processes as its only runs, and without tokens."""
    return {
        **capsule,
        "outputs": {},
        **{name: _failed(capsule[name]) for name in ("runs", "fidelity_runs") if name in capsule},
    }


def _failed(runs: object) -> object:
    """Return a set of runs with the variant's that failed: a verdict repeats what they said."""
    if not isinstance(runs, dict) or not isinstance(runs.get("variant"), list):
        return runs
    return {"variant": [run for run in runs["variant"] if not isinstance(run, dict) or run.get("status") != "ok"]}
