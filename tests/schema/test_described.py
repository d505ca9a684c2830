"""What a field means is read from its docstring when a schema is shown, as pydantic itself would read it."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict

from zmlx_bench.schema.base import StrictModel
from zmlx_bench.schema.described import descriptions
from zmlx_bench.schema.plan import Job, Plan


class Asked(StrictModel):
    """Read by pydantic, which it asks for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    known: ClassVar[int] = 1
    """No field."""
    first: int
    """Of one line."""
    bare: int = 0
    second: str = "x"
    """Of several,

        and indented
    in part.
    """


class Below(Asked):
    """Has those of its base, one of them anew."""

    third: int = 0
    """Its own."""
    first: int
    """Said anew."""


def test_they_are_what_pydantic_itself_reads() -> None:
    for model in (Asked, Below):
        read = {name: field.description for name, field in model.model_fields.items() if field.description}
        assert descriptions(model) == read
    assert descriptions(Below)["first"] == "Said anew."
    assert "known" not in descriptions(Asked)


def test_a_schema_says_what_each_field_means_those_of_nested_models_too() -> None:
    found = Plan.model_json_schema()
    nested: dict[str, Any] = found["$defs"]["Job"]["properties"]
    for model, fields in ((Plan, found["properties"]), (Job, nested)):
        assert len(descriptions(model)) > 2
        assert {name: field["description"] for name, field in fields.items() if "description" in field} == {
            **descriptions(model)
        }


def test_no_process_reads_them_that_shows_no_schema() -> None:
    assert [name for name, field in Plan.model_fields.items() if field.description] == []
