"""What the benchmark of a session's time reads in an event log."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import load


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load("benchmarks/session_time.py")


def line(kind: str, **event: Any) -> str:
    return json.dumps({"kind": kind, "job": 0, **({"event": event} if event else {})})


def test_decode_is_from_the_first_token_of_each_prompt_to_its_last(benchmark: ModuleType) -> None:
    prompt = [line("event", event="token", id=1, t_ns=round(at * 1e9)) for at in (1.0, 1.5, 3.0)]
    other = [line("event", event="token", id=1, t_ns=round(at * 1e9)) for at in (7.0, 7.25)]
    end = line("event", event="prompt_end", prompt="p")
    assert benchmark.decode_of([line("start"), *prompt, end, *other, end, line("end")]) == (1, 2.25, 5)
    took = benchmark.Took(1, 10.0, 2.25, 5)
    assert took.rest_s == 7.75


def test_a_process_that_failed_counts_and_its_last_prompt_does_not(benchmark: ModuleType) -> None:
    cut = [line("start"), line("event", event="token", id=1, t_ns=5), line("end")]
    assert benchmark.decode_of([*cut, *cut]) == (2, 0.0, 2)
