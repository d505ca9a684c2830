"""What an exception says: in another environment what that lacks is no fault of the arm."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable

import mlx.core as mx
import pytest

from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.worker.failing import failed


def no_module() -> None:
    importlib.import_module("mlx_lm.models.of_tomorrow")


def no_name() -> None:
    exec("from mlx_lm.generate import of_tomorrow")


def no_function() -> None:
    mx.fast.of_tomorrow()  # type: ignore[attr-defined]


def no_argument() -> None:
    (lambda: None)(of_tomorrow=1)  # type: ignore[call-arg]


def no_native_argument() -> None:
    mx.softmax(mx.zeros(2), of_tomorrow=1)  # type: ignore[call-arg]


def no_model() -> None:
    raise ValueError("Model type of_tomorrow not supported.")


LACKING = [no_module, no_name, no_function, no_argument, no_native_argument, no_model]


def faulty() -> None:
    types.SimpleNamespace().of_tomorrow  # noqa: B018


def wrong() -> None:
    raise ValueError("shapes (1, 2) and (3, 4) cannot be broadcast")


def raised_by(call: Callable[[], None]) -> Exception:
    with pytest.raises(Exception) as found:  # noqa: PT011 - what it is is the question
        call()
    return found.value


@pytest.mark.parametrize("call", LACKING)
def test_what_another_environment_lacks_is_unavailable_with_what_that_is(call: Callable[[], None]) -> None:
    error = raised_by(call)
    there = failed(error, elsewhere=True)
    assert there.status == "unavailable"
    assert there.message == f"{type(error).__name__}: {error}: this environment lacks it"
    assert failed(error).status == "crash", "here it is a fault"


@pytest.mark.parametrize("call", [faulty, wrong])
def test_a_fault_is_one_in_any_environment(call: Callable[[], None]) -> None:
    assert failed(raised_by(call), elsewhere=True).status == "crash"


def test_memory_and_what_a_kernel_says_of_itself_stay_what_they_are() -> None:
    assert failed(MemoryError("[malloc_or_wait] Unable to allocate"), elsewhere=True).status == "oom"
    assert failed(Unavailable("needs a GPU"), elsewhere=True).message == "needs a GPU"
