"""`python -m zmlx_bench.measured.encode`: texts on standard input, their token ids on standard output.

Once a session, in a process of its own: a chat template may write the time, and what reads text may read it by the
locale. In: `path`, `trust_remote_code`, `texts` by name, `pieces` of a context. Out: `token_ids` by name,
`chat_template` and `context_pieces`, or `error`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

_UNUSED = ("torch", "tensorflow", "flax", "jax")
"""What transformers imports where it is installed, for seconds, and no tokenizer of MLX's needs."""


def main() -> int:
    """Answer; 0 also where the answer is an error."""
    told = json.loads(sys.stdin.buffer.read())
    # What a library prints goes to standard error from here.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # The checkpoint was resolved and checked: nothing is fetched from here.
    os.environ["HF_HUB_OFFLINE"] = "1"
    if not told["trust_remote_code"]:
        # As if they were not installed; a checkpoint's own code may need them.
        sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]
    try:
        tokenizer = load_tokenizer(Path(told["path"]), trust_remote_code=told["trust_remote_code"])
        found = {name: encode(tokenizer, text) for name, text in told["texts"].items()}
        pieces = [[int(i) for i in tokenizer.encode(text, add_special_tokens=False)] for text in told["pieces"]]
        answer = {
            "token_ids": found,
            "chat_template": bool(tokenizer.has_chat_template),
            "context_pieces": [piece for piece in pieces if piece],
        }
    except Exception as error:  # noqa: BLE001 - a tokenizer's files may make it raise anything
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error}"}
    with os.fdopen(answers, "wb") as file:
        file.write(json.dumps(answer).encode("ascii"))
    return 0


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return mlx-lm's tokenizer of the checkpoint in `folder`."""
    from mlx_lm.utils import load_tokenizer as load

    return load(folder, {"trust_remote_code": trust_remote_code})


def encode(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a question, with the chat template where the tokenizer has one."""
    if tokenizer.has_chat_template:
        message = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True)
        return [int(i) for i in ids]
    return [int(i) for i in tokenizer.encode(text)]


if __name__ == "__main__":
    sys.exit(main())
