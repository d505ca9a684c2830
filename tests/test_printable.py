"""What processes and libraries say, in one line: nothing that a reader needs is left out, and no word is cut."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zmlx_bench.printable import LONGEST, clean, one_line, said, shortened

COMPILER = "[metal::Device] Unable to build metal library from source\n" + "\n".join(
    [f"mlx/kernels/utils.h:{n}:12: note: candidate template ignored" for n in range(20)]
    + ["program_source:41:9: error: use of undeclared identifier 'simd_summ'", "1 error generated."]
)


def raised(error: Exception) -> str:
    """The message of a worker that told of this error, and printed its traceback."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - any that a case raises
        printed = "".join(traceback.format_exception(caught))
        return f"{type(caught).__name__}: {caught}\n{printed}"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (None, ""),
        (" \n ", ""),
        ("silent for 4 s while decoding", "silent for 4 s while decoding"),
        (raised(ValueError("one\n  two")), "ValueError: one two"),
        (
            raised(ValueError("Missing 2 parameters:\nmodel.norm.weight,\nlm_head.weight.")),
            "ValueError: Missing 2 parameters: model.norm.weight, lm_head.weight.",
        ),
        (
            f"exited with code 1 before it was done\n{raised(KeyError('layers')).partition(chr(10))[2]}",
            "exited with code 1 before it was done: KeyError: 'layers'",
        ),
        (
            "exited with code 1 before it was done\n"
            'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\n    import b\n'
            "ModuleNotFoundError: No module named 'b'\n\nDuring handling of the above exception, another came:\n\n"
            'Traceback (most recent call last):\n  File "a.py", line 5, in <module>\n    raise\n    ^^^^^\n'
            "RuntimeError: b is needed\ninstall it",
            "exited with code 1 before it was done: RuntimeError: b is needed install it",
        ),
        (
            "killed by SIGABRT\nloading\nlibc++abi: terminating: [METAL] Command buffer execution failed",
            "killed by SIGABRT; it printed last: libc++abi: terminating: [METAL] Command buffer execution failed",
        ),
        ("crash: größer als 模型\n\x1b[2J", "crash: größer als 模型; it printed last: \\x1b[2J"),
    ],
)
def test_the_essential_of_a_message(message: str | None, expected: str) -> None:
    assert said(message) == expected


def test_a_compilers_error_is_told_though_it_stands_among_the_last_of_many_lines() -> None:
    line = said(raised(RuntimeError(COMPILER)))
    assert line.startswith("RuntimeError: [metal::Device] Unable to build metal library from source")
    assert "error: use of undeclared identifier 'simd_summ'" in line
    assert len(line) <= LONGEST


def test_it_is_told_though_what_was_printed_is_only_the_end_of_it() -> None:
    whole = raised(RuntimeError(COMPILER))
    line = said(f"RuntimeError: {COMPILER}\n{whole[-300:]}")
    assert line.startswith("RuntimeError: [metal::Device] Unable to build metal library from source")
    assert "error: use of undeclared identifier 'simd_summ'" in line


@given(st.text(max_size=900), st.integers(20, 400))
@example("a" * 500, 40)
@example("word " * 200, 33)
def test_one_line_is_one_line_and_no_longer_than_asked(text: str, longest: int) -> None:
    line = one_line(text, longest)
    assert "\n" not in line
    assert line.isprintable()
    assert len(line) <= longest
    assert said(text).isprintable()
    assert len(said(text)) <= LONGEST


@given(st.lists(st.text("abcä", min_size=1, max_size=9), min_size=1, max_size=60), st.integers(20, 120))
def test_what_is_cut_is_cut_between_words(words: list[str], longest: int) -> None:
    whole = " ".join(words)
    cut = shortened(whole, longest)
    if len(whole) <= longest:
        assert cut == whole
    else:
        assert cut.endswith("…")
        assert whole.startswith(f"{cut[:-1]} ")


def test_what_is_shown_of_a_file_is_cut_between_words_too() -> None:
    assert clean("eins zwei " * 40) == f"{('eins zwei ' * 40)[:300].rpartition(' ')[0]}…"
