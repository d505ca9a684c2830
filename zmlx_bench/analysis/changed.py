"""What of a variant is no longer what its evidence was measured with."""

from __future__ import annotations

from zmlx_bench.schema.identity import Identity

DECLARATION = "its declaration"
PATH = "the measured path"


def changed(then: Identity, now: Identity) -> tuple[str, ...]:
    """Return the parts that differ, in words; none where the evidence is of today's code."""
    if then.digest == now.digest:
        return ()
    if then.formula != now.formula:
        return (f"the formula of identities ({then.formula}, now {now.formula})",)
    found = [DECLARATION] if then.declaration != now.declaration else []
    names = sorted({*then.kernels, *now.kernels})
    found += [f"kernel {name}" for name in names if then.kernels.get(name) != now.kernels.get(name)]
    return (*found, *([PATH] if then.path != now.path else []))


def listed(parts: tuple[str, ...]) -> str:
    """Return the parts as one phrase: `kernel a, kernel b and the measured path`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
