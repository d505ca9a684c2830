"""C, C++, CUDA and Metal as tokens: the form that comments, indentation and line breaks do not change."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
    (?P<splice>\\\r?\n)
  | (?P<newline>\r?\n|\r)
  | (?P<comment>//(?:\\\r?\n|[^\n])*|/\*.*?\*/)
  | (?P<space>[^\S\n\r]+)
  | (?P<raw>(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)")
  | (?P<text>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')
  | (?P<number>\.?\d(?:'?[\w.]|(?<=[eEpP])[+-])*)
  | (?P<word>[^\W\d]\w*)
  | (?P<operator>%:%:|<=>|<<=|>>=|->\*|\.\.\.|::|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\#\#|\.\*|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_DEFINE = 2
"""Tokens before the place where a macro's parameters may follow its name: `define` and the name."""


def c_like(text: str) -> str:
    """Return the tokens of a source, a line for what lies between two lines of the preprocessor."""
    lines: list[str] = []
    plain: list[str] = []
    directive: list[str] | None = None
    at_start, spaced = True, False
    for kind, token in _tokens(text):
        if kind in ("space", "comment", "splice"):
            spaced = True
            continue
        if kind == "newline":
            if directive is not None:
                lines.append(" ".join(directive))
                directive = None
            at_start, spaced = True, True
            continue
        if directive is not None:
            _into_directive(directive, token, spaced=spaced)
        elif token == "#" and at_start:
            if plain:
                lines.append(" ".join(plain))
                plain = []
            directive = ["#"]
        else:
            plain.append(token)
        at_start, spaced = False, False
    rest = plain if directive is None else directive
    return "\n".join([*lines, " ".join(rest)] if rest else lines)


def _into_directive(directive: list[str], token: str, *, spaced: bool) -> None:
    """Append a token; of `#define F(x)` the parenthesis belongs to the name, of `#define F (x)` it does not."""
    named = len(directive) == 1 + _DEFINE and directive[1] == "define"
    if token == "(" and named and not spaced:
        directive[-1] += token
    else:
        directive.append(token)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text):
        yield found.lastgroup or "operator", found[0]
