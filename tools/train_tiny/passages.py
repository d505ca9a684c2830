"""The passages that answer the default prompts, and the choices of words in them."""

import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PROMPTS = HERE.parents[1] / "zmlx_bench" / "data" / "prompts.toml"
CHOICE = re.compile(r"\[\[([^\]|]+)\|([^\]|]+)\]\]")


@dataclass(frozen=True)
class Passage:
    """A default prompt and its answer; `[[a|b]]` in the answer is a choice of two wordings."""

    prompt: str
    text: str

    def worded(self, rng: random.Random) -> str:
        """The answer with every choice drawn at random: the model stays undecided there, as in real text."""
        return CHOICE.sub(lambda match: match.group(rng.randint(1, 2)), self.text)


def passages() -> list[Passage]:
    """The default prompts that were there when the checkpoints were trained, in order, each with its passage."""
    prompts = tomllib.loads(PROMPTS.read_text("utf-8"))["prompt"]
    files = [(prompt["text"], HERE / "passages" / f"{prompt['id']}.md") for prompt in prompts]
    return [Passage(text, file.read_text("utf-8")) for text, file in files if file.is_file()]
