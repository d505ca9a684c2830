"""Prompt sets: the five defaults, a selection, a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.catalog import prompts
from zmlx_bench.errors import UnusableInput


def test_five_prompts_with_the_timed_one_first() -> None:
    found = prompts.load(None)
    assert next(p.id for p in found.prompt) == "tcp_udp"
    assert [p.domain for p in found.prompt] == ["technical English", "Chinese", "code", "mathematics", "story"]


def test_a_selection_keeps_its_order_and_has_a_hash_of_its_own() -> None:
    found = prompts.load("primes, tcp_udp,primes")
    assert [p.id for p in found.prompt] == ["primes", "tcp_udp"]
    assert len({found.sha256, prompts.load(None).sha256, prompts.load("tcp_udp,primes").sha256}) == 3
    assert prompts.load(None).sha256 == prompts.load(None).sha256


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "prompt: Field required"),
        ("prompt = []", "prompt: "),
        ('[[prompt]]\nid = "a"\ndomain = "x"\ntext = ""', "prompt.0.text: "),
        ('[[prompt]]\nid = "a"\ndomain = "x"\ntext = "x"\n' * 2, "two prompts have the same id"),
        ('[[prompt]]\nid = "a b"\ndomain = "x"\ntext = "x"', "prompt.0.id: "),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UnusableInput) as caught:
        prompts.load(str(path))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
