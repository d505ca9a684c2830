"""The promoted variant in a program: `python examples/apply.py MODEL [PROMPT]`, MODEL a folder or a hub id.

Run it where your evidence is: the promotions of the nearest workspace upwards count, else those that came with zmlx.
"""

from __future__ import annotations

import sys

from mlx_lm import generate, load

import zmlx_bench


def main(name: str, prompt: str = "Once upon a time") -> int:
    """Generate with what is promoted for this model and machine, then with the stock model; 1 if a token differs."""
    model, tokenizer = load(name)[:2]
    applied = zmlx_bench.apply(model)
    print("applied:" if applied else "unchanged:", applied.why)
    text = generate(model, tokenizer, prompt, max_tokens=40)
    print(text)
    applied.undo()
    return int(text != generate(model, tokenizer, prompt, max_tokens=40))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
