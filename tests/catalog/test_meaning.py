"""The normal form of a source: what changes it and what does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.catalog.meaning import cmake, meaning, python
from zmlx_bench.catalog.tokens import c_like

PYTHON = '''
"""Adds."""
import math

def add(a: int, b: int = 2) -> int:
    """Return the sum."""
    return a + b
'''

SAME_PYTHON = {
    "another docstring": PYTHON.replace("Return the sum.", "The sum of two."),
    "no docstring of the module": PYTHON.replace('"""Adds."""\n', ""),
    "a comment": PYTHON.replace("return a", "# why\n    return a"),
    "layout": PYTHON.replace("(a: int, b: int = 2)", "(\n    a: int,\n    b: int = 2,\n)").replace("a + b", "(a+b)"),
    "line ends": PYTHON.replace("\n", "\r\n"),
    "a string that stands alone": PYTHON + '\n"""About nothing."""\n',
}
OTHER_PYTHON = {
    "another operation": PYTHON.replace("a + b", "a - b"),
    "another default": PYTHON.replace("= 2", "= 3"),
    "a default of another type": PYTHON.replace("= 2", "= 2.0"),
    "another import": PYTHON.replace("import math", "import cmath"),
    "another name": PYTHON.replace("def add", "def plus"),
    "a statement more": PYTHON + "\nadd(1)\n",
    "another order": PYTHON.replace("a + b", "b + a"),
}


@pytest.mark.parametrize("change", SAME_PYTHON)
def test_what_python_says_to_its_reader_is_out(change: str) -> None:
    assert python(SAME_PYTHON[change]) == python(PYTHON)


@pytest.mark.parametrize("change", OTHER_PYTHON)
def test_what_python_does_is_in(change: str) -> None:
    assert python(OTHER_PYTHON[change]) != python(PYTHON)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = a or ''", "x = a or b''"),
        ("x = {1: ''}", "x = {}"),
        ("x = ['']", "x = []"),
        ("x = True", "x = 1"),
        ("x = 0.0", "x = -0.0"),
        ("x = None", "x = ..."),
        ("match x:\n case None: pass", "match x:\n case True: pass"),
        ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
        ("{**a, 1: 2}", "{1: 2, **a}"),
        ("from .a import b", "from ..a import b"),
        ("x[1:]", "x[:1]"),
    ],
)
def test_values_of_another_kind_are_told_apart(one: str, other: str) -> None:
    assert python(one) != python(other)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\x00\x0c\x1c\x1d\x1e\x85\u2028\u2029")))
def test_any_comment_may_stand_at_the_end_of_a_line(comment: str) -> None:
    assert python(PYTHON.replace("import math", f"import math  # {comment}")) == python(PYTHON)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_any_constant_is_told_from_another(text: str) -> None:
    assert python(f"x = {text!r}") == python(f"x = {text!a}")
    assert python(f"x = {text!r}") != python(f"x = {text + 'x'!r}")


def test_a_normal_form_is_ascii_whatever_the_source() -> None:
    assert python("größe = 'ü'").isascii()


C = """// Adds.
#define F(x) x + 1
#include "words.h"
const uint d = thread_position_in_grid.x;
out[d] = F(y[d]) * 2.5e-3f + (a++ + +b);
"""
SAME_C = {
    "no comment": C.replace("// Adds.\n", ""),
    "a comment of another form": C.replace("// Adds.", "/* Adds\n   up. */"),
    "a comment within": C.replace("* 2.5", "/* by */ * 2.5"),
    "reflowed": C.replace("out[d] = F(y[d]) *", "out[d] =\n    F(y[d])\n  *"),
    "no spaces": C.replace(" * 2.5e-3f + (", "*2.5e-3f+("),
    "line ends": C.replace("\n", "\r\n"),
    "a directive over two lines": C.replace("x + 1", "x \\\n  + 1"),
    "an indented directive": C.replace("#define", "#  define"),
}
OTHER_C = {
    "a macro of no parameter": C.replace("F(x) x", "F (x) x"),
    "another number": C.replace("2.5e-3f", "2.5e+3f"),
    "two increments": C.replace("a++ + +b", "a++ ++b"),
    "a directive that is no line": C.replace("1\n#include", "1 #include"),
    "a directive in a comment": C.replace('#include "words.h"', '// #include "words.h"'),
    "another file": C.replace("words.h", "other.h"),
}


@pytest.mark.parametrize("change", SAME_C)
def test_comments_and_layout_of_c_are_out(change: str) -> None:
    assert c_like(SAME_C[change]) == c_like(C)


@pytest.mark.parametrize("change", OTHER_C)
def test_tokens_of_c_are_in(change: str) -> None:
    assert c_like(OTHER_C[change]) != c_like(C)


@pytest.mark.parametrize("text", ['"a // b"', "'\"'", 'R"x(a /* " )" )x"', '"a  b"', "'/'", 'u8"//"', "1'000'000"])
def test_what_stands_in_quotes_is_left_alone(text: str) -> None:
    assert c_like(f"x = {text}; // {text}") == c_like(f"x={text};") == f"x = {text} ;"


@given(st.lists(st.sampled_from(["a", "+", "+=", "(", ")", '"s // t"', "1.5f", "->", "<<", "x_shape", "'c'"])))
def test_layout_between_tokens_never_shows(tokens: list[str]) -> None:
    assert c_like(" ".join(tokens)) == c_like(" // c\n\t".join(tokens)) == c_like(" /**/ ".join(tokens))


def test_cmake_loses_comments_and_blank_lines_only() -> None:
    assert cmake('# about\nset(A 1) # why\n\n  set(B "# no")\n') == 'set(A 1)\nset(B "# no")'
    assert cmake("set(A 1)") != cmake("set(A 2)")


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def (")
    with pytest.raises(ValueError, match=r"bad\.py: cannot be read as source"):
        meaning(tmp_path / "bad.py")
    (tmp_path / "bad.cu").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"bad\.cu: cannot be read as source"):
        meaning(tmp_path / "bad.cu")


@pytest.mark.parametrize(
    ("form", "digest"),
    [
        (python(PYTHON), "3887297d31085f7a"),
        (c_like(C), "725ce8cd5a0356fe"),
        (cmake('set(A 1) # why\n  set(B "# no")\n'), "88e55c4aeac87173"),
    ],
)
def test_the_formula_stays_what_its_number_says(form: str, digest: str) -> None:
    assert hashlib.sha256(form.encode()).hexdigest()[:16] == digest, (
        "another normal form is another formula: raise FORMULA"
    )
