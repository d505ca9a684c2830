"""Writes `tests/catalog/path.toml`: the digest of the measured path of each packaged family, which a test compares.

    python tools/pin_path.py

Run it when a change of the path is meant: from then on, evidence measured before is of an earlier path.
"""

from __future__ import annotations

from pathlib import Path

import tomlkit

from zmlx_bench.catalog import families
from zmlx_bench.catalog.identity import FORMULA, path_digest

PINS = Path(__file__).resolve().parents[1] / "tests" / "catalog" / "path.toml"


def main() -> None:
    """Write the file."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Written by `python tools/pin_path.py`: see tests/catalog/test_path.py."))
    document.add("formula", tomlkit.item(FORMULA))
    document.add("path", tomlkit.item({name: path_digest(families.folder(name)) for name in families.names()}))
    PINS.write_text(tomlkit.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main()
