"""Train the byte-level BPE tokenizer that both tiny checkpoints share.

`python -m tools.train_tiny.tokenizer TEXT OUT` writes tokenizer.json and tokenizer_config.json to OUT.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.train_tiny.passages import passages

VOCABULARY = 1536
END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# Bytes of each domain that the merges are learnt from; Chinese and the passages weigh more than their size.
BYTES = 900_000


def sample(folder: Path) -> Iterator[str]:
    """Text to learn merges from."""
    for path in sorted(folder.glob("*.train.txt")):
        data = path.read_bytes()[:BYTES].decode("utf-8", "ignore")
        yield from [data] * (2 if path.name.startswith("chinese") else 1)
    for passage in passages():
        for _ in range(12):
            yield passage.text.replace("[[", "").replace("]]", "").replace("|", " ")


def main(text: Path, out: Path) -> None:
    """Train and write."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in (END, USER, ASSISTANT)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample(text), trainer)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
