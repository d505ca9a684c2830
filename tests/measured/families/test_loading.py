"""A family is loaded from wherever its folder lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.measured.families.loading import load

FAMILY = """from zmlx_bench.measured.families.base import Family

from .answer import ANSWER

class Planted(Family):
    answer = ANSWER

    def hosts(self, model):
        return ()
"""


def plant(folder: Path, answer: int, implementation: str = "Planted") -> Path:
    folder.mkdir(parents=True)
    (folder / "facts.toml").write_text(f'implementation = "{implementation}"\n[config]\nvocab_size = {answer}\n')
    (folder / "family.py").write_text(FAMILY)
    (folder / "answer.py").write_text(f"ANSWER = {answer}\n")
    return folder


def test_its_files_import_each_other_and_its_facts_come_with_it(tmp_path: Path) -> None:
    family = load(plant(tmp_path / "planted", 42))
    assert (family.name, family.answer, family.facts["config"]) == ("planted", 42, {"vocab_size": 42})  # type: ignore[attr-defined]
    assert family.hosts(None) == ()


def test_two_folders_of_one_name_are_two_families(tmp_path: Path) -> None:
    one, other = load(plant(tmp_path / "a" / "planted", 1)), load(plant(tmp_path / "b" / "planted", 2))
    assert (one.name, other.name) == ("planted", "planted")
    assert (one.answer, other.answer) == (1, 2)  # type: ignore[attr-defined]
    assert type(load(tmp_path / "a" / "planted")) is type(one)


def test_a_class_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = plant(tmp_path / "planted", 1, implementation="Other")
    with pytest.raises(ImportError) as raised:
        load(folder)
    assert str(raised.value) == f"{folder / 'family.py'}: has no class Other, which facts.toml names"
