"""What `zmlx kernels` shows can be told apart."""

from __future__ import annotations

from rich.console import Console

from zmlx_bench.report import listings
from zmlx_bench.workspace import Workspace


def lines_of(repository: Workspace) -> dict[str, list[str]]:
    """Return what each kernel says of the weights that it serves, up to the packings."""
    console = Console(width=1000)
    found: dict[str, list[str]] = {}
    rows = listings.kernels(repository)
    for name in {row["kernel"] for row in rows}:
        with console.capture() as captured:
            console.print(listings.kernel_list([row for row in rows if row["kernel"] == name]))
        lines = [line.strip() for line in captured.get().splitlines()]
        found[name] = [line.partition(":")[0] for line in lines if line.startswith("weights")]
    return found


def test_packings_that_differ_by_backend_say_which(repository: Workspace) -> None:
    found = lines_of(repository)
    assert found["mla_attention"] == ["weights on cuda", "weights on metal"]
    assert found["gather_qmm_swiglu"] == ["weights"]
    assert all(len(set(labels)) == len(labels) for labels in found.values())
