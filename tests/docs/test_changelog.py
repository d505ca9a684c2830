"""The fragments of the changelog are named so that towncrier finds each, and hold a sentence."""

from __future__ import annotations

import re
import tomllib

from tests.docs.blocks import ROOT

FOLDER = ROOT / "changelog.d"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
TYPES = [one["directory"] for one in SETTINGS["type"]]


def test_every_fragment_is_found_and_says_something() -> None:
    fragments = [path for path in FOLDER.iterdir() if path.name != "README.md"]
    name = re.compile(rf"(\+[a-z0-9][a-z0-9-]*|\d+)\.({'|'.join(TYPES)})(\.\d+)?\.md")
    assert [path.name for path in fragments if not name.fullmatch(path.name)] == []
    texts = {path.name: path.read_text(encoding="utf-8") for path in fragments}
    assert [one for one, text in texts.items() if not re.fullmatch(r"[^\s-].*[.)]\n", text, re.DOTALL)] == []


def test_a_release_has_a_place_to_go() -> None:
    text = (ROOT / SETTINGS["filename"]).read_text(encoding="utf-8")
    assert text.count(SETTINGS["start_string"]) == 1
    assert {f"`{one}`" for one in TYPES} <= set(re.findall(r"`\w+`", (FOLDER / "README.md").read_text()))
