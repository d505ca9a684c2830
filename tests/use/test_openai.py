"""The ordinary OpenAI client against `zmlx serve` on a fresh machine, one without a hub cache."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.use.serving import Server, serve
from zmlx_bench.catalog.families import TINY
from zmlx_bench.workspace import Workspace

if TYPE_CHECKING:
    import openai

pytestmark = pytest.mark.process
NAMES = ("qwen3", "tiny", str(TINY / "tiny_qwen3"))


@pytest.fixture(scope="module")
def server(make_workspace: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    with serve(make_workspace(), "qwen3", "none", folder / "log", HF_HUB_CACHE=str(folder / "not there")) as running:
        yield running
        assert running.end(signal.SIGTERM) == 143


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    # Imported here: it takes most of a second of every process that collects the tests.
    import openai

    with openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0) as made:
        yield made


def not_found() -> type[Exception]:
    from openai import NotFoundError

    return NotFoundError


def test_the_served_model_is_listed_under_its_names(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(NAMES)
    assert client.models.retrieve("qwen3").id == "qwen3"
    with pytest.raises(not_found(), match="there is qwen3"):
        client.models.retrieve("another")


def test_it_answers_to_each_name(client: openai.OpenAI) -> None:
    def ask(model: str) -> str | None:
        asked = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Once upon a time"}], max_tokens=8, temperature=0
        )
        return asked.choices[0].message.content

    expected = ask("default_model")
    assert expected
    assert [ask(name) for name in NAMES] == [expected] * len(NAMES)


@pytest.mark.parametrize("name", ["gpt-4", "nobody/has-this", "."])
def test_a_model_that_is_not_here_is_refused_and_the_served_one_stays(client: openai.OpenAI, name: str) -> None:
    def ask(model: str) -> str:
        return client.completions.create(model=model, prompt="Once upon a time", max_tokens=2).choices[0].text

    expected = ask("tiny")
    with pytest.raises(not_found(), match=r"no model .* here; there is qwen3, tiny"):
        ask(name)
    assert ask("tiny") == expected


def test_a_draft_model_that_is_not_here_is_refused_and_the_served_one_stays(client: openai.OpenAI) -> None:
    def ask(**more: Any) -> str:
        asked = client.completions.create(model="tiny", prompt="Once upon a time", max_tokens=2, extra_body=more)
        return asked.choices[0].text

    expected = ask()
    with pytest.raises(not_found(), match=r"no draft model 'nobody/has-this' here"):
        ask(draft_model="nobody/has-this")
    assert ask() == expected


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    said = client.completions.create(**asked)
    stream = client.completions.create(**asked, stream=True)
    assert "".join(part.choices[0].text for part in stream if part.choices) == said.choices[0].text
