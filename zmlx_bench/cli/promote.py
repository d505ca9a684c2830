"""`zmlx promote`: apply the policy to the evidence; write promoted.toml, the matrix and the notebook."""

from __future__ import annotations

from typing import Annotated

import typer

from zmlx_bench.cli.options import JsonOption, OptionalFamily, RehashOption, WorkspaceOption


def promote(
    family: OptionalFamily = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and print, write nothing.")] = False,
    rehash: RehashOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide every variant from the evidence that stands up to a check, and record what follows."""
    from dataclasses import asdict

    from zmlx_bench import workspace as workspaces
    from zmlx_bench.catalog import families, verified
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.ledger import promotions
    from zmlx_bench.ledger.decide import Recorded, decide, record
    from zmlx_bench.report import overview_text
    from zmlx_bench.report.build import figures_in
    from zmlx_bench.report.overview import as_json as groups_json
    from zmlx_bench.report.overview import overview

    place = workspaces.find(workspace)
    if family is not None:
        families.check_name(family, place)
    decided = decide(place, family, rehash=rehash)
    recorded = Recorded(False) if dry_run else record(place, decided)
    standing = decided.before if dry_run else decided.after
    incumbents = promotions.incumbents(standing)
    groups = overview(
        decided.evidence,
        decided.decisions,
        incumbents,
        decided.policy,
        figures_in(place),
        verifications=verified.read(place),
    )
    if as_json:
        print_json(
            {
                "schema_version": 1,
                "dry_run": dry_run,
                "promotions_changed": recorded.promotions,
                "notebook_entries": list(recorded.entries),
                "taken_over": list(recorded.taken_over),
                "promotions": [p.model_dump(mode="json") for p in decided.after.promotion],
                "groups": groups_json(groups),
                "refused": [asdict(refusal) for refusal in decided.refusals],
            }
        )
        return
    console().print(overview_text.tables(groups, (), decided.refusals))
    people = console(stderr=True)
    if dry_run:
        would = "would change" if decided.after != decided.before else "would not change"
        people.print(f"dry run: nothing was written; promoted.toml {would}")
        return
    people.print("promoted.toml changed" if recorded.promotions else "promoted.toml unchanged")
    for name in recorded.taken_over:
        people.print(f"notebook/{name}: taken over from LAB_NOTEBOOK.md")
    for title in recorded.entries:
        people.print(f"LAB_NOTEBOOK.md: {title}")
