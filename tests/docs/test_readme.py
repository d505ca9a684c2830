"""The README's table of promotions is what `variants/promoted.toml` holds; ZMLX_PICTURES=1 writes it anew."""

from __future__ import annotations

import os
import re

from tests.docs.blocks import ROOT
from tests.scripts import load

README = ROOT / "README.md"
_BLOCK = re.compile(r"(?<=<!-- promoted -->\n).*?(?=<!-- /promoted -->)", re.DOTALL)


def test_what_is_promoted_stands_in_the_readme() -> None:
    tables = load("docs/_hooks/tables.py")
    wanted = f"\n{tables.promoted(ROOT)}\n\n"
    text = README.read_text(encoding="utf-8")
    if os.environ.get("ZMLX_PICTURES"):
        text = _BLOCK.sub(lambda _: wanted, text)
        README.write_text(text, encoding="utf-8")
    assert _BLOCK.findall(text) == [wanted], "ZMLX_PICTURES=1 python -m pytest tests/docs/test_readme.py writes it"
