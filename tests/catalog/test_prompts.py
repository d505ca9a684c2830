"""Prompt sets: the defaults, a selection, a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from zmlx_bench import files
from zmlx_bench.catalog import prompts
from zmlx_bench.checkpoints.resolve import TINY, TOKENIZER
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace

VERSION_1 = "62c6553b174d0838b3a44bf81ba3ef20a84de25937503227e78ea3076919e8ff"
LONG = "night_ferry"


def test_the_timed_prompt_is_first_and_the_long_one_last() -> None:
    found = prompts.load(None)
    assert [p.domain for p in found.prompt] == [
        "technical English", "Chinese", "code", "mathematics", "story", "long report",
    ]  # fmt: skip
    assert (found.prompt[0].id, found.prompt[-1].id) == ("tcp_udp", LONG)


def test_the_first_five_are_the_set_that_landed_evidence_rests_on(repository: Workspace) -> None:
    first = prompts.load("tcp_udp,great_wall,binary_tree,primes,lighthouse")
    assert first.sha256 == VERSION_1
    assert first.prompt == prompts.load(None).prompt[:5]
    session = "20261122T124523Z-glm47-fedb"
    landed = files.read_json(repository.session(session) / "session.json", Session)
    assert landed.plan.prompts == first


def test_the_set_for_near_variants_is_larger_than_the_policy_asks_for(repository: Workspace) -> None:
    found = prompts.load("near")
    assert found.prompt[:5] == prompts.load(None).prompt[:5]
    assert len(found.prompt) >= 1.5 * read_policy(repository).near_prompts
    assert len({prompt.text for prompt in found.prompt}) == len(found.prompt)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, *(TINY / f"tiny_{family}" for family in ("qwen3", "glm47"))])
def test_one_untimed_prompt_is_longer_than_a_hundred_tokens(tokenizer: Path) -> None:
    encoder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    lengths = {p.id: len(encoder.encode(p.text).ids) for p in prompts.load(None).prompt}
    assert [name for name, length in lengths.items() if length > 100] == [LONG]
    # A vocabulary a hundred times larger has longer tokens, and none spans words.
    assert len(prompts.load(LONG).prompt[0].text.split()) > 100


def test_a_selection_keeps_its_order_and_has_a_hash_of_its_own() -> None:
    found = prompts.load("primes, tcp_udp,primes")
    assert [p.id for p in found.prompt] == ["primes", "tcp_udp"]
    assert len({found.sha256, prompts.load(None).sha256, prompts.load("tcp_udp,primes").sha256}) == 3
    assert prompts.load(None).sha256 == prompts.load(None).sha256


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "prompt: is missing"),
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
