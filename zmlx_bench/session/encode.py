"""Prompts become token ids: once a session, before its first process, in a process that measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from zmlx_bench.checkpoints.folder import has_tokenizer
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.printable import one_line, said
from zmlx_bench.process import ending, told_path
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.session.environment import child_environment, without_secrets

MODULE = "zmlx_bench.measured.encode"
LIMIT_S = 600.0
"""For an answer; a tokenizer takes seconds to load, over a slow network or on a busy machine more."""


def encode(located: Located, prompts: PromptSet, limit_s: float = LIMIT_S, *, pieces: Sequence[str] = ()) -> Encoded:
    """Return the prompts as token ids of the checkpoint's tokenizer, with its chat template, and the sentences of a
    context without it.

    UnusableInput where the tokenizer cannot be loaded or its template not be applied, or makes no token of a prompt;
    CannotHere where the process does not answer within `limit_s` seconds.
    """
    told = {
        "path": told_path(located.path),
        "trust_remote_code": located.checkpoint.trust_remote_code,
        "texts": {prompt.id: prompt.text for prompt in prompts.prompt},
        "pieces": list(pieces),
    }
    where = f"checkpoint {located.path}: tokenizer"
    answer = _answer(json.dumps(told).encode("ascii"), where, limit_s)
    if "error" in answer and not has_tokenizer(located.path):
        # What a library makes of that is which other library it would like.
        raise UnusableInput(
            f"checkpoint {located.path}: has no tokenizer.json, nor any other file that a tokenizer is made of; "
            "copy it from where the weights come from"
        )
    if "error" in answer:
        raise UnusableInput(
            f"{where}: {one_line(without_secrets(answer['error']))}; mend the checkpoint's files or name another"
        )
    for name, ids in answer["token_ids"].items():
        if not ids:
            raise UnusableInput(f"{where}: makes no token of prompt {name!r}; mend its chat template or the prompt")
    if pieces and not answer["context_pieces"]:
        raise UnusableInput(f"{where}: makes no token of the text that a context is filled with; leave --context out")
    return Encoded.model_validate(answer)


def _answer(told: bytes, where: str, limit_s: float) -> dict[str, Any]:
    command = [sys.executable, "-m", MODULE]
    try:
        done = subprocess.run(
            command, input=told, capture_output=True, env=child_environment(), timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotHere(f"{where}: its process gave no answer within {limit_s:g} s") from None
    if done.returncode != 0 or not done.stdout:
        printed = without_secrets(done.stderr.decode("utf-8", "replace"))
        ended = said(f"its process {ending(done.returncode)}\n{printed}")
        raise CannotHere(f"{where}: {ended}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
