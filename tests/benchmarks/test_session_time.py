"""What the benchmark of a session's time reads in an event log."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "session_time.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("session_time", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["session_time"] = module
    spec.loader.exec_module(module)
    return module


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
