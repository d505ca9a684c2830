"""Prompts become token ids: once a session, before its first process, in a process that measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
from typing import Any

from pydantic import ValidationError

from zmlx_bench import files
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.process import ending, told_path
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.session.environment import child_environment, without_secrets

MODULE = "zmlx_bench.measured.encode"
_LONGEST_WORDS = 300


def encode(located: Located, prompts: PromptSet, limit_s: float) -> Encoded:
    """Return the prompts as token ids of the checkpoint's tokenizer, with its chat template.

    UnusableInput where the tokenizer cannot be loaded or its template not be applied, or makes no token of a prompt;
    CannotHere where the process does not answer within `limit_s` seconds.
    """
    told = {
        "path": told_path(located.path),
        "trust_remote_code": located.checkpoint.trust_remote_code,
        "texts": {prompt.id: prompt.text for prompt in prompts.prompt},
    }
    where = f"checkpoint {located.path}: tokenizer"
    answer = _answer(json.dumps(told).encode("ascii"), where, limit_s)
    if "error" in answer:
        raise UnusableInput(f"{where}: {_words(answer['error'])}; mend the checkpoint's files or name another")
    try:
        return Encoded.model_validate(answer)
    except ValidationError as error:
        raise UnusableInput(f"{where}: makes of the prompts what is no text: {files.first_error(error)}") from None


def _answer(told: bytes, where: str, limit_s: float) -> dict[str, Any]:
    # A file, because what long prompts come to is more than a pipe holds.
    with tempfile.TemporaryFile() as file:
        try:
            done = subprocess.run(
                [sys.executable, "-m", MODULE, str(file.fileno())],
                input=told,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                pass_fds=(file.fileno(),),
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CannotHere(f"{where}: no answer within {limit_s:g} s; allow more with --timeout") from None
        file.seek(0)
        answer = file.read()
    if done.returncode != 0 or not answer:
        said = done.stdout.decode("utf-8", "replace").strip().splitlines()
        raise CannotHere(f"{where}: its process {ending(done.returncode)}: {_words(said[-1] if said else 'no word')}")
    found: dict[str, Any] = json.loads(answer)
    return found


def _words(text: str) -> str:
    return textwrap.shorten(without_secrets(text), _LONGEST_WORDS, placeholder=" ...")
