"""Turn text and chats into token ids for training.

`python -m tools.train_tiny.prepare TEXT TOKENIZER OUT.npz`: every array is uint16. `train_<domain>` and `held_<domain>`
are streams; `passages` and `chats` are rows of ROW + 1 ids that begin as a chat begins.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tools.train_tiny.passages import passages
from tools.train_tiny.tokenizer import ASSISTANT, END, USER

ROW = 2048
WORDINGS = 96
CHAT_ROWS = 1200


def chat(question: str, answer: str) -> str:
    """Question and answer as the chat template writes them."""
    return f"{USER}{question}{END}{ASSISTANT}{answer}{END}"


def main(text: Path, tokenizer_folder: Path, out: Path) -> None:
    """Write the arrays."""
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(text.glob("*.txt")):
        domain, kind, _ = path.name.split(".")
        ids = tokenizer.encode(path.read_text("utf-8")).ids
        arrays[f"{kind}_{domain}"] = np.array(ids, dtype=np.uint16)
    rng = random.Random(3)
    chats = json.loads((text / "chats.json").read_text("utf-8"))

    def row(first: list[str]) -> list[int]:
        ids = [i for piece in first for i in tokenizer.encode(piece).ids]
        while len(ids) <= ROW:
            ids += tokenizer.encode(chat(*rng.choice(chats))).ids
        return ids[: ROW + 1]

    rows = [row([chat(p.prompt, p.worded(rng))]) for _ in range(WORDINGS) for p in passages()]
    arrays["passages"] = np.array(rows, dtype=np.uint16)
    arrays["chats"] = np.array([row([]) for _ in range(CHAT_ROWS)], dtype=np.uint16)
    np.savez_compressed(out, **arrays)
    for name, array in arrays.items():
        print(name, array.shape)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
