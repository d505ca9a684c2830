"""Prompts become token ids: once a session, before its first process, in a process that measures nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from zmlx_bench.checkpoints.folder import has_tokenizer
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import UnusableInput
from zmlx_bench.printable import one_line
from zmlx_bench.process import told_path
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.session.asking import answer_of
from zmlx_bench.session.environment import without_secrets

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
    answer = answer_of(MODULE, json.dumps(told).encode("ascii"), where, "its process", limit_s)
    if "error" in answer and not has_tokenizer(located.path):
        # What a library makes of that is which other library it would like.
        raise UnusableInput(
            f"checkpoint {located.path}: has no tokenizer.json, nor any other file that a tokenizer is made of; "
            "copy it from where the weights come from"
        )
    if "error" in answer:
        raise UnusableInput(
            f"{where}: {one_line(without_secrets(answer['error'])).rstrip('.')}; "
            "mend the checkpoint's files or name another"
        )
    for name, ids in answer["token_ids"].items():
        if not ids:
            raise UnusableInput(f"{where}: makes no token of prompt {name!r}; mend its chat template or the prompt")
    if pieces and not answer["context_pieces"]:
        raise UnusableInput(f"{where}: makes no token of the text that a context is filled with; leave --context out")
    return Encoded.model_validate(answer)
