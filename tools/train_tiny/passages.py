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
    """The default prompts in order, each with its passage."""
    prompts = tomllib.loads(PROMPTS.read_text("utf-8"))["prompt"]
    return [
        Passage(prompt["text"], (HERE / "passages" / f"{prompt['id']}.md").read_text("utf-8")) for prompt in prompts
    ]
