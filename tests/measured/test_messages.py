"""Both sides of the pipe: what the measured process writes is what the supervisor's models read, field by field."""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.instructions import instructions
from tests.schema.strategies import raw_of
from zmlx_bench.measured import messages
from zmlx_bench.measured.conditions.decode import StepPipe
from zmlx_bench.measured.messages import ArmTrace, Event, Instructions
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.schema import event as checked
from zmlx_bench.schema.event import WorkerEvent
from zmlx_bench.schema.prompts import ids_hash

WIRE: TypeAdapter[WorkerEvent] = TypeAdapter(WorkerEvent)
MODELS = {model.model_fields["event"].default: model for model in typing.get_args(typing.get_args(WorkerEvent)[0])}
EVENTS = {event.event: event for event in Event.__subclasses__()}


BEFORE = {"loaded": {"chat_template"}}
"""Fields by event that only logs of before hold."""


def of_now(kind: str, raw: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name not in BEFORE.get(kind, set())}


def sent(kind: str, raw: dict[str, Any]) -> Event:
    """The worker's event of a kind, from plain values."""
    fields = {name: value for name, value in raw.items() if name != "event"}
    for name in ("baseline", "variant"):
        if isinstance(fields.get(name), dict):
            fields[name] = ArmTrace(**{key: tuple(value) for key, value in fields[name].items()})
    return EVENTS[kind](**fields)


def test_both_sides_know_the_same_events() -> None:
    assert set(EVENTS) == set(MODELS) - {"token"}, "a token is formatted by the pipe"
    assert MODELS["token"] is checked.Token


@pytest.mark.parametrize("kind", sorted(EVENTS))
@given(data=st.data())
def test_what_one_side_writes_the_other_reads(kind: str, data: st.DataObject) -> None:
    raw = of_now(kind, data.draw(raw_of(MODELS[kind])))
    event = sent(kind, raw)
    assert {field.name for field in dataclasses.fields(event)} == set(raw) - {"event"}
    line = event.encoded()
    assert b"\n" not in line
    assert WIRE.validate_json(line) == MODELS[kind].model_validate(raw)


def lines_of(told: Callable[[Pipe], None]) -> list[bytes]:
    read_end, write_end = os.pipe()
    told(Pipe(write_end))
    os.close(write_end)
    with os.fdopen(read_end, "rb") as lines:
        return lines.read().splitlines()


@given(raw=raw_of(checked.Token))
def test_a_token_formatted_by_hand_is_read_too(raw: dict[str, Any]) -> None:
    def tell(pipe: Pipe) -> None:
        pipe.token(raw["id"], raw["t_ns"], raw["margin"])
        pipe.send(messages.Forced("baseline", "p"))

    first, _ = lines_of(tell)
    assert WIRE.validate_json(first) == checked.Token.model_validate({**raw, "others": None})


@given(steps=st.lists(st.lists(st.integers(0, 2**40), min_size=2, max_size=5), min_size=1))
def test_steps_of_many_sequences_are_read_too_in_their_order(steps: list[list[int]]) -> None:
    def tell(pipe: Pipe) -> None:
        out = StepPipe(pipe)
        for t_ns, ids in enumerate(steps):
            out.token(tuple(ids), t_ns, None)
        out.send(messages.Forced("baseline", "p"))

    *found, last = [WIRE.validate_json(line) for line in lines_of(tell)]
    assert found == [checked.Token(id=ids[0], t_ns=t, others=tuple(ids[1:])) for t, ids in enumerate(steps)]
    assert isinstance(last, checked.Forced)


@given(ids=st.lists(st.integers(0, 2**40)))
def test_both_sides_have_one_digest_of_token_ids(ids: list[int]) -> None:
    assert messages.digest(ids) == ids_hash(ids)


@given(told=st.from_type(Instructions))
def test_instructions_come_out_as_they_went_in(told: Instructions) -> None:
    data = told.encoded()
    data.decode("ascii")
    assert messages.instructions(data) == told


def test_a_path_that_is_no_text_comes_through() -> None:
    path = os.fsdecode(b"/tmp/caf\xe9")
    told = replace(instructions("qwen3"), path=path)
    assert os.fsencode(messages.instructions(told.encoded()).path) == b"/tmp/caf\xe9"


def test_a_message_that_is_no_text_can_be_read() -> None:
    line = messages.Failed("crash", "no such file: " + os.fsdecode(b"caf\xe9")).encoded()
    read = WIRE.validate_json(line)
    assert isinstance(read, checked.Failed)
    assert read.message == "no such file: caf?"


@pytest.mark.parametrize("protocol", [messages.PROTOCOL - 1, messages.PROTOCOL + 1, None])
def test_another_protocol_is_refused(protocol: int | None) -> None:
    told = {**json.loads(instructions("qwen3").encoded()), "protocol": protocol}
    with pytest.raises(ValueError, match=f"of protocol {protocol}, and this worker knows {messages.PROTOCOL}"):
        messages.instructions(json.dumps(told).encode())


def test_what_is_not_a_number_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        messages.Loaded(load_s=float("nan"), mlx="1", mlx_lm="1").encoded()
