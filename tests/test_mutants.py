"""The list of mutants that are explained, and how `tools/mutants.py` names one."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import load


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load("tools/mutants.py")


def test_every_explained_mutant_is_of_a_function_that_there_is(tool: ModuleType) -> None:
    reasons = tool.explained(tool.EXPLAINED)
    assert reasons
    for key, why in reasons.items():
        place, _, line = key.partition(": ")
        module, *names = place.split(".")
        found = importlib.import_module(f"zmlx_bench.analysis.decision.{module}")
        for name in names:
            found = getattr(found, name)
        assert callable(found), key
        assert line, key
        assert len(why) > 20, key


def test_no_function_of_the_decision_hides_behind_a_decorator(tool: ModuleType) -> None:
    """Mutmut makes no mutant of a decorated function, and says nothing of it."""
    files = sorted((tool.ROOT / "zmlx_bench" / "analysis" / "decision").glob("*.py"))
    assert len(files) > 10
    hidden = [
        f"{path.stem}.{node.name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and [one for one in node.decorator_list if ast.unparse(one) not in ("property", "staticmethod", "classmethod")]
    ]
    assert hidden == []


def test_a_mutant_is_known_by_its_function_and_its_line(tool: ModuleType) -> None:
    place = "zmlx_bench.analysis.decision"
    assert tool.key_of(f"{place}.looks.x_overall__mutmut_33", "return 1") == "looks.overall: return 1"
    assert tool.key_of(f"{place}.robust.x__weight__mutmut_8", "pass") == "robust._weight: pass"
    assert tool.key_of(f"{place}.evidence.xǁGroupKeyǁcovers__mutmut_9", "pass") == "evidence.GroupKey.covers: pass"
    with pytest.raises(ValueError, match="no name of a mutant"):
        tool.key_of("elsewhere.x_f__mutmut_1", "pass")


def test_what_was_tried_is_read_from_the_files_that_mutmut_keeps(tool: ModuleType, tmp_path: Path) -> None:
    for name, codes in {"a": {"one": 0, "two": None}, "b": {"three": 1}}.items():
        (tmp_path / "deep").mkdir(exist_ok=True)
        (tmp_path / "deep" / f"{name}.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    assert tool.states(tmp_path) == {"one": 0, "two": None, "three": 1}
    assert {0, 33} & tool.KILLED == set()
    assert 1 in tool.KILLED
