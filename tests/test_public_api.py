"""The names that programs and kernels may rely on: all of them listed, typed, documented; nothing else in the lists."""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from pathlib import Path
from types import ModuleType

import pytest

import zmlx_bench

PACKAGE = Path(zmlx_bench.__file__).parent
PUBLIC = ("zmlx_bench", "zmlx_bench.measured.api", "zmlx_bench.use")


@pytest.fixture(params=PUBLIC)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def imported(module: ModuleType) -> set[str]:
    """The public names that the module's file imports from the package, also those for type checkers only."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    # What is imported inside a function is its own affair.
    blocks = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.If))]
    nodes = [node for block in blocks for node in block if isinstance(node, ast.ImportFrom)]
    names = {
        name.asname or name.name
        for node in nodes
        if (node.module or "").startswith("zmlx_bench")
        for name in node.names
    }
    return {name for name in names if not name.startswith("_")}


def test_the_list_is_what_is_imported_to_be_offered(module: ModuleType) -> None:
    listed = set(module.__all__)
    assert len(module.__all__) == len(listed)
    assert imported(module) == listed - {"__version__"}


def test_every_name_is_there_typed_and_documented(module: ModuleType) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
        if inspect.isfunction(value):
            hints = typing.get_type_hints(value)
            assert set(inspect.signature(value).parameters) | {"return"} == set(hints), name


def test_no_other_name_is_made_up() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'aply'"):
        zmlx_bench.aply  # noqa: B018 - what is asked for is the error


def test_what_is_offered_has_not_changed_unseen() -> None:
    assert sorted(zmlx_bench.__all__) == ["Applied", "NotApplied", "__version__", "apply"]
    offered = inspect.signature(zmlx_bench.apply).parameters
    conditions = ["context", "batch", "kv_bits", "max_kv_size"]
    assert list(offered) == ["model", "variant", "checkpoint", "workspace", "strict", *conditions]
    assert {p.kind for p in list(offered.values())[1:]} == {inspect.Parameter.KEYWORD_ONLY}


def test_type_checkers_are_told_that_there_are_types() -> None:
    assert (PACKAGE / "py.typed").read_text(encoding="utf-8") == ""
