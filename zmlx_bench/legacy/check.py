"""Imports of the predecessor's files: hash, recomputed speed-ups, and the complete list of inconsistencies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zmlx_bench.findings.compare import same_number, show
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import read, relative
from zmlx_bench.legacy.faults import record_faults, speedup_of
from zmlx_bench.legacy.schema import LegacyImport


def check_legacy_file(root: Path, path: Path) -> list[Finding]:
    """Read and check one import."""
    legacy, findings = read(root, path, LegacyImport)
    if legacy is None:
        return findings
    return [*findings, *check_legacy(legacy, relative(root, path))]


def check_legacy(legacy: LegacyImport, file: str) -> Iterator[Finding]:
    """Yield every fault of an import."""
    if file.rpartition("/")[2] != f"{Path(legacy.source_name).stem}.json":
        yield finding(file, "source_name", f"{legacy.source_name} is stored under another name")
    if not legacy.intact:
        yield finding(file, "content_sha256", "the content is not what was hashed: edited after it was written")
    listed = set(legacy.inconsistencies)
    for index, record in enumerate(legacy.records):
        expected = speedup_of(record.baseline, record.patched)
        matches = record.speedup == expected or (
            record.speedup is not None and expected is not None and same_number(record.speedup, expected)
        )
        if not matches:
            message = f"says {show(record.speedup)}, the medians give {show(expected)}"
            yield finding(file, f"records[{index}].speedup", message)
        for fault in record_faults(record):
            if fault not in listed:
                message = f"leaves out what does not add up at {fault.field}: {fault.sentence}"
                yield finding(file, "inconsistencies", message)
