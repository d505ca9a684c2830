"""Every schema: unknown fields, NaN and infinities are refused, and what is written is read back the same."""

from __future__ import annotations

import copy
import importlib
import json
import math
import pkgutil
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import zmlx_bench.schema
from tests.schema.strategies import Raw, example, raw_of
from zmlx_bench import files
from zmlx_bench.schema.base import StrictModel, UtcTime
from zmlx_bench.schema.sealed import Sealed

QUICK = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


def _models() -> list[type[StrictModel]]:
    found: set[type[StrictModel]] = set()
    for module in pkgutil.iter_modules(zmlx_bench.schema.__path__, "zmlx_bench.schema."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.name:
                assert issubclass(value, StrictModel), f"{value.__name__} is not strict"
                if value is not StrictModel:
                    found.add(value)
    return sorted(found, key=lambda model: model.__name__)


MODELS = _models()
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def test_the_known_artifacts_are_among_the_models() -> None:
    names = {model.__name__ for model in MODELS}
    assert {"Capsule", "Session", "MatrixRow", "Plan", "Run", "Token", "VariantFile", "Policy"} <= names


def _instance(model: type[StrictModel], raw: Raw) -> StrictModel:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        # A rule between fields that the generated values break is no failure of this test.
        assume(not all(e["type"] in ("value_error",) for e in error.errors()))
        raise


@every_model
@QUICK
@given(data=st.data())
def test_what_is_written_is_read_back_the_same(model: type[StrictModel], data: st.DataObject, tmp_path: Path) -> None:
    value = _instance(model, data.draw(raw_of(model)))
    value = value.sealed() if isinstance(value, Sealed) else value
    assert model.model_validate_json(value.model_dump_json()) == value
    assert files.parse(Path("x"), model, files.dump_json(value).decode(), files.loads) == value
    path = tmp_path / "artifact.json"
    files.write_atomic(path, files.dump_json(value))
    assert files.read_json(path, model) == value


@every_model
def test_an_unknown_field_is_refused(model: type[StrictModel]) -> None:
    model.model_validate(example(model))
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**example(model), "x_unknown": 1})
    assert ("extra_forbidden", ("x_unknown",)) in [(e["type"], e["loc"]) for e in caught.value.errors()]


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in _numbers(part, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, part in enumerate(value) for leaf in _numbers(part, (*path, i))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


@every_model
@QUICK
@given(data=st.data(), poison=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_nan_and_infinities_are_refused_wherever_a_number_stands(
    model: type[StrictModel], data: st.DataObject, poison: float
) -> None:
    raw = data.draw(raw_of(model))
    _instance(model, raw)
    numbers = _numbers(raw)
    for path in random.Random(0).sample(numbers, min(len(numbers), 40)):
        poisoned = copy.deepcopy(raw)
        at: Any = poisoned
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = poison
        with pytest.raises(ValidationError):
            model.model_validate(poisoned)
        with pytest.raises(ValidationError):
            model.model_validate_json(json.dumps(poisoned))


@every_model
def test_an_instance_does_not_change(model: type[StrictModel]) -> None:
    value = model.model_validate(example(model))
    field = next(iter(model.model_fields))
    with pytest.raises(ValidationError):
        setattr(value, field, getattr(value, field))


class _Timed(StrictModel):
    time: UtcTime


@pytest.mark.parametrize("good", ["2026-02-10T12:00:00Z", "2026-02-10T12:00:00.123Z"])
def test_utc_times_are_taken(good: str) -> None:
    assert _Timed(time=good).time == good


@pytest.mark.parametrize(
    "bad", ["2026-02-10T12:00:00", "2026-02-10T12:00:00+01:00", "yesterday", "2026-02-30T12:00:00Z"]
)
def test_other_times_are_refused(bad: str) -> None:
    with pytest.raises(ValidationError):
        _Timed(time=bad)
