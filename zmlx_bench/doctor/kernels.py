"""What `zmlx doctor` says of kernels: those made for this backend that do not run here, and which were verified."""

from __future__ import annotations

from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog import verified
from zmlx_bench.catalog.available import lacks_primitive, why_not
from zmlx_bench.catalog.variants import Catalog, families_with_variants
from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.schema.base import Backend
from zmlx_bench.workspace import Workspace


def observations(workspace: Workspace, backend: Backend) -> list[Observation]:
    """Return a note for each kernel that is made for `backend` and cannot run here, but for another build of MLX."""
    reasons: dict[str, list[str]] = {}
    for kernel in kernel_catalog.load(workspace).values():
        if lacks_primitive(kernel) is not None:
            continue
        for mode, declared in kernel.declaration.mode.items():
            reason = why_not(workspace, kernel, mode, backend) if backend in declared.backends else None
            if reason is not None:
                reasons.setdefault(reason, []).append(kernel.name)
    return [
        Observation(subject=", ".join(dict.fromkeys(names)), level="note", found="does not run here", remedy=reason)
        for reason, names in reasons.items()
    ]


def verification(workspace: Workspace, backend: Backend) -> Observation:
    """Return what of the variants that are measured by default was verified on this device as it is.

    Of the families that are meant where none is named: `zmlx kernels verify` takes no others by itself.
    """
    reports = verified.read(workspace)
    here = verified.here(backend)
    never: list[str] = []
    times: list[str] = []
    usual = family_catalog.usual(workspace)
    for family in (name for name in families_with_variants(workspace) if name in usual):
        catalog = Catalog(workspace, family)
        for name in catalog.defaults():
            variant = catalog.resolve(name)
            if variant.kernels and catalog.missing_on(variant, backend) is None:
                time = verified.last(reports, variant, verified.digests(catalog, variant, backend), here)
                never += [name] if time is None else []
                times += [] if time is None else [time]
    subject = "kernels against stock"
    if never:
        remedy = "`zmlx kernels verify --record` compares every kernel with the unpatched model, bit for bit"
        return Observation(subject=subject, level="note", found=f"not verified here: {', '.join(never)}", remedy=remedy)
    found = f"verified here, the oldest {min(times)}" if times else "none of the default variants runs here"
    return Observation(subject=subject, level="good", found=found)
