"""Hypothesis strategies for raw (JSON-like) values of any schema, from its annotations and constraints.

A schema's own fields vary; a schema inside it is one plain example, because it is generated in its own turn.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Lt, MinLen
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, StringConstraints
from pydantic.fields import FieldInfo

Raw = dict[str, Any]
MOST = 2
"""Longest generated collection; enough for every rule, and large models stay quick."""

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
# By the pattern, because drawing up to a hundred characters from it takes a second.
_SHORT: dict[str, st.SearchStrategy[str]] = {
    pattern: st.from_regex(short, fullmatch=True)
    for pattern, short in (
        (r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$", r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,5}"),
        (r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}$", r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,5}"),
        (r"^[^/\x00-\x1f]+$", r"[a-z().\- \u6a21\u202e]{1,5}"),
        (r"^([0-9a-f]{64}|(full|synthetic|tiny|path|hub)-[0-9a-f]{16})$", r"(full|tiny)-[0-9a-f]{16}"),
        (r"^EXP-[A-Z0-9][A-Z0-9_.\-]{0,149}$", r"EXP-[A-Z0-9]{1,5}"),
        (r"^[A-Za-z_][A-Za-z0-9_]*$", r"[A-Za-z_][A-Za-z0-9_]{0,5}"),
        (r"^[a-z0-9_]{1,60}(\.[a-z0-9_]{1,60})?$", r"[a-z0-9_]{1,3}(\.[a-z0-9_]{1,3})?"),
    )
} | {r"^[0-9a-f]{64}$": st.binary(min_size=32, max_size=32).map(bytes.hex)}
FIXES: dict[str, Callable[[Raw], Raw]] = {}


def fix(name: str) -> Callable[[Callable[[Raw], Raw]], Callable[[Raw], Raw]]:
    def register(function: Callable[[Raw], Raw]) -> Callable[[Raw], Raw]:
        FIXES[name] = function
        return function

    return register


@fix("Mode")
def _mode(raw: Raw) -> Raw:
    return {**raw, "changes": "" if raw["numerics"] == "stock" else "rounds"}


@fix("Arm")
def _arm(raw: Raw) -> Raw:
    stock = raw["variant"] is None
    return {**raw, "role": "baseline" if stock else "variant"}


@fix("Run")
def _run(raw: Raw) -> Raw:
    return {**raw, "status": "ok" if raw["generations"] else "crash", "message": raw["message"] or "why"}


@fix("PromptSet")
def _prompts(raw: Raw) -> Raw:
    return {**raw, "prompt": [{**p, "id": f"{i}{p['id'][1:]}"} for i, p in enumerate(raw["prompt"])]}


@fix("Plan")
@fix("Capsule")
def _encoded(raw: Raw) -> Raw:
    if raw["encoded"] is None:
        return raw
    ids = {prompt["id"]: [1] for prompt in raw["prompts"]["prompt"]}
    return {**raw, "encoded": {**raw["encoded"], "token_ids": ids}}


@fix("EnvironmentSpec")
def _environment(raw: Raw) -> Raw:
    return {**raw, "python": None if raw.get("requirements") else raw.get("python") or "bin/python"}


@fix("Policy")
def _policy(raw: Raw) -> Raw:
    most = max(raw[name] for name in raw if name.startswith("sessions"))
    averaged = {"sessions_averaged": most} if "sessions_averaged" in raw else {}
    return {**raw, "min_gain": raw["planned_effect"] / 2, **averaged}


@fix("VariantSpec")
@fix("ResolvedVariant")
def _variant(raw: Raw) -> Raw:
    return {**raw, "env": {f"MLX_{i}": value for i, value in enumerate(raw["env"].values())}}


@fix("ArmTrace")
def _trace(raw: Raw) -> Raw:
    length = max(1, min(map(len, raw.values())))
    return {name: [*values, *([False if name == "agrees" else 1.0] * length)][:length] for name, values in raw.items()}


@fix("Audit")
def _audit(raw: Raw) -> Raw:
    if not raw["prompts"] or raw["figures"] is None:
        return {**raw, "status": "crash", "prompts": [], "figures": None}
    return {**raw, "status": "ok"}


@fix("Weights")
def _weights(raw: Raw) -> Raw:
    if raw["mode"] != "affine":
        return {**raw, "bits": [], "groups": []}
    return {**raw, "bits": raw["bits"] or [4], "groups": raw["groups"] or [64]}


@fix("LegacyImport")
def _legacy(raw: Raw) -> Raw:
    return {**raw, "why_not": None if raw["is_evidence"] else "stated medians only"}


@fix("LegacyArm")
def _legacy_arm(raw: Raw) -> Raw:
    def above(value: Any) -> Any:
        return abs(value) + 1 if isinstance(value, float) else value

    return {key: [above(v) for v in value] if isinstance(value, list) else above(value) for key, value in raw.items()}


def raw_of(model: type[BaseModel]) -> st.SearchStrategy[Raw]:
    """Every field of `model`, defaults included, so that nothing goes untried."""
    fields = {name: _of(_whole(field)) for name, field in model.model_fields.items()}
    strategy = st.fixed_dictionaries(fields)
    wanted = FIXES.get(model.__name__)
    return strategy.map(wanted) if wanted is not None else strategy


def _whole(field: FieldInfo) -> Any:
    annotation: Any = field.annotation
    for extra in field.metadata:
        annotation = Annotated[annotation, extra]
    return annotation


def _of(annotation: Any) -> st.SearchStrategy[Any]:
    annotation, extras = _unwrapped(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_of(part) for part in reversed(arguments)))
    if origin is tuple:
        return st.lists(_of(arguments[0]), min_size=_least(extras), max_size=MOST)
    if origin is dict:
        return st.dictionaries(_key(arguments[0]), _of(arguments[1]), min_size=_least(extras), max_size=MOST)
    if annotation is type(None):
        return st.none()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return st.builds(example, st.just(annotation))
    return _scalar(annotation, extras)


def _unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    extras: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        extras.extend(more)
    # `Field(...)` inside Annotated carries its constraints in `metadata`.
    return annotation, [part for e in extras for part in (e.metadata if isinstance(e, FieldInfo) else [e])]


def _key(annotation: Any) -> st.SearchStrategy[Any]:
    # JSON has no integer keys: an artifact's are written as digits.
    return _of(annotation).map(str)


def _scalar(annotation: Any, extras: list[Any]) -> st.SearchStrategy[Any]:
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        low = next((e.ge for e in extras if isinstance(e, Ge)), None)
        return st.integers(low, 2**53)
    if annotation is float:
        return st.floats(
            next((e.ge for e in extras if isinstance(e, Ge)), next((e.gt for e in extras if isinstance(e, Gt)), None)),
            next((e.lt for e in extras if isinstance(e, Lt)), 1e12),
            allow_nan=False,
            allow_infinity=False,
            exclude_min=any(isinstance(e, Gt) for e in extras),
            exclude_max=any(isinstance(e, Lt) for e in extras),
            allow_subnormal=False,
        )
    if annotation is str:
        return _string(extras)
    if annotation is Any:
        return st.one_of(st.none(), st.booleans(), st.integers(-9, 9), TEXT)
    raise TypeError(f"no strategy for {annotation!r}")


def _string(extras: list[Any]) -> st.SearchStrategy[str]:
    for extra in extras:
        if isinstance(extra, StringConstraints):
            if extra.pattern is not None:
                return _SHORT[str(extra.pattern)]
            return st.text(st.characters(codec="utf-8"), min_size=extra.min_length or 0, max_size=8)
        if isinstance(extra, AfterValidator):
            return st.datetimes(
                datetime(2000, 1, 1),
                datetime(2100, 1, 1),
            ).map(lambda t: t.isoformat(timespec="milliseconds") + "Z")
    return TEXT


def example(model: type[BaseModel]) -> Raw:
    """One plain value with every field set and one element in every collection, so that each number is reached."""
    raw = {name: _plain(_whole(field)) for name, field in model.model_fields.items()}
    return FIXES.get(model.__name__, lambda whole: whole)(raw)


def _plain(annotation: Any) -> Any:
    annotation, extras = _unwrapped(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return _plain(arguments[0])
    if origin is tuple:
        return [_plain(arguments[0])] * max(1, _least(extras))
    if origin is dict:
        key = _plain(arguments[0])
        return {str(key): _plain(arguments[1])}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return example(annotation)
    if annotation is str:
        return _plain_string(extras)
    if annotation is int:
        return max(1, *(extra.ge for extra in extras if isinstance(extra, Ge)), 0)
    return {bool: True, float: 0.5}.get(annotation)


def _plain_string(extras: list[Any]) -> str:
    if any(isinstance(extra, AfterValidator) for extra in extras):
        return "2030-01-01T00:00:00.000Z"
    patterns = [str(e.pattern) for e in extras if isinstance(e, StringConstraints) and e.pattern is not None]
    if any(pattern.startswith("^EXP-") for pattern in patterns):
        return "EXP-A"
    return "0" * 64 if any("{64}" in pattern for pattern in patterns) else "a"


def _least(extras: list[Any]) -> int:
    return next((e.min_length for e in extras if isinstance(e, MinLen)), 0)
