"""Prompts are token ids once a session: no process, no locale, no clock and no resume makes others of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUIET_ENV
from zmlx_bench.catalog import prompts
from zmlx_bench.checkpoints.resolve import TINY, Located, locate
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.ledger import capsules
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.machine import facts
from zmlx_bench.measured.encode import encode as encode_here
from zmlx_bench.measured.encode import load_tokenizer
from zmlx_bench.schema.prompts import Encoded, ids_hash
from zmlx_bench.session import api, encode, inputs, instructions
from zmlx_bench.session.request import EncodedBefore, Request
from zmlx_bench.workspace import Workspace

PROMPTS = "great_wall,night_ferry"
ONE = "great_wall"
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
TIMED = "{{ strftime_now('%H:%M:%S.%f') }} "


@pytest.fixture
def folder(tmp_path: Path, small: str) -> Path:
    """A copy of a checkpoint with the tiny one's tokenizer."""
    return Path(shutil.copytree(small, tmp_path / "checkpoint"))


def change_template(folder: Path, change: Callable[[str], str | None]) -> None:
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    config["chat_template"] = change(config["chat_template"])
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def located(folder: Path) -> Located:
    return locate("qwen3", str(folder), facts.read("cpu"))


def expected(folder: Path, names: str = PROMPTS) -> dict[str, tuple[int, ...]]:
    """What mlx-lm's tokenizer makes of the prompts here."""
    tokenizer = load_tokenizer(folder, trust_remote_code=False)
    return {prompt.id: tuple(encode_here(tokenizer, prompt.text)) for prompt in prompts.load(names).prompt}


@pytest.mark.parametrize("environment", [{}, NOT_UTF8], ids=["UTF-8", "not UTF-8"])
def test_a_prompt_is_the_same_in_every_locale(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = encode.encode(located(TINY / "tiny_qwen3"), prompts.load(PROMPTS))
    assert found.token_ids == expected(TINY / "tiny_qwen3")
    assert found.chat_template
    assert len(found.token_ids["great_wall"]) == 22


def test_what_transformers_imports_for_models_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "tensorflow", "flax", "jax"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('{name} was imported')\n")
        metadata = tmp_path / f"{name}-9.0.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = encode.encode(located(TINY / "tiny_qwen3"), prompts.load("great_wall"))
    assert found.token_ids == expected(TINY / "tiny_qwen3", "great_wall")
    plain = located(TINY / "tiny_qwen3")
    trusted = plain.checkpoint.model_copy(update={"trust_remote_code": True})
    with pytest.raises(CannotHere, match="was imported"):
        encode.encode(replace(plain, checkpoint=trusted), prompts.load("great_wall"))


def test_without_a_chat_template_it_is_the_bare_text(folder: Path) -> None:
    change_template(folder, lambda _: None)
    found = encode.encode(located(folder), prompts.load("primes"))
    assert not found.chat_template
    assert found.token_ids == expected(folder, "primes")
    assert found.token_ids != expected(TINY / "tiny_qwen3", "primes")


def test_a_template_that_fails_is_one_line(folder: Path) -> None:
    change_template(folder, lambda _: "{{ raise_exception('no such role\nat all') }}")
    with pytest.raises(UnusableInput) as refused:
        encode.encode(located(folder), prompts.load("primes"))
    assert str(refused.value) == (
        f"checkpoint {folder}: tokenizer: TemplateError: no such role at all; "
        "mend the checkpoint's files or name another"
    )


def test_a_folder_without_a_tokenizer_is_named_with_the_file_that_it_lacks(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnusableInput) as refused:
        encode.encode(located(folder), prompts.load("primes"))
    assert str(refused.value) == (
        f"checkpoint {folder}: has no tokenizer.json, nor any other file that a tokenizer is made of; "
        "copy it from where the weights come from"
    )


def test_a_template_that_makes_nothing_of_a_prompt_is_refused(folder: Path) -> None:
    change_template(folder, lambda _: "{# nothing #}")
    with pytest.raises(UnusableInput, match=r"tokenizer: makes no token of prompt 'primes'"):
        encode.encode(located(folder), prompts.load("primes"))


def test_a_process_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotHere, match=r"tokenizer: its process gave no answer within 0\.01 s"):
        encode.encode(located(TINY / "tiny_qwen3"), prompts.load("primes"), 0.01)
    monkeypatch.setattr(encode, "MODULE", "a_module_that_is_not_there")
    with pytest.raises(CannotHere, match=r"its process exited with code 1; .*: No module named a_module_that_is"):
        encode.encode(located(TINY / "tiny_qwen3"), prompts.load("primes"))


def test_a_template_that_writes_the_time_is_read_once_in_a_shell_that_is_not_utf_8(
    fresh_workspace: Workspace, zmlx: Callable[..., Any], folder: Path
) -> None:
    change_template(folder, lambda template: TIMED + str(template))
    assert expected(folder, "primes") != expected(folder, "primes"), "it does write the time"
    done = zmlx(
        "run", "qwen3", "--checkpoint", str(folder), "--tokens", "4", "--runs", "1", "--no-null", "--prompts", ONE,
        "--variants", "qwen_qkv_joined", "--workspace", str(fresh_workspace.root), env={**QUIET_ENV, **NOT_UTF8},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = fresh_workspace.capsules.glob("*/qwen3_*.json")
    capsule = capsules.read(path)
    assert capsule.figures.fidelity is not None
    assert capsule.figures.fidelity.verdict == "identical"
    assert capsule.encoded is not None
    assert capsule.chat_template
    for prompt, ids in expected(TINY / "tiny_qwen3", ONE).items():
        assert capsule.encoded.token_ids[prompt][-len(ids) :] == ids
        assert len(capsule.encoded.token_ids[prompt]) > len(ids)
    for runs in (capsule.runs, capsule.fidelity_runs):
        for generation in (one for run in (*runs.baseline, *runs.variant) for one in run.generations):
            ids = capsule.encoded.token_ids[generation.prompt]
            assert (generation.prompt_tokens, generation.prompt_sha256) == (len(ids), ids_hash(ids))
    assert check_workspace(fresh_workspace).findings == ()


def test_ids_of_before_are_those_of_the_same_texts_alone() -> None:
    checkpoint, asked = located(TINY / "tiny_qwen3"), prompts.load(ONE)
    kept = Encoded(chat_template=True, token_ids={ONE: (1, 2, 3)})
    before = EncodedBefore(checkpoint.checkpoint.digest, asked.sha256, kept)
    request = Request("qwen3", tokens=(4,), encoded_before=before)
    assert inputs.encoded(request, checkpoint, asked) == kept
    edited = asked.model_copy(update={"prompt": (asked.prompt[0].model_copy(update={"text": "Why?"}),)})
    found = inputs.encoded(request, checkpoint, edited)
    tokenizer = load_tokenizer(TINY / "tiny_qwen3", trust_remote_code=False)
    assert found.token_ids == {ONE: tuple(encode_here(tokenizer, "Why?"))}


def test_a_resumed_session_keeps_its_ids_whatever_the_tokenizer_says_now(
    fresh_workspace: Workspace, folder: Path
) -> None:
    request = Request(
        "qwen3", tokens=(4,), runs=1, checkpoint=str(folder), prompts="primes", share_device=True,
        variants=("qwen_qkv_joined",),
    )  # fmt: skip
    begun = api.prepare(fresh_workspace, request, lambda *_: None)
    begun.release()
    change_template(folder, lambda template: "Answer: " + str(template))
    resumed = api.reopen(fresh_workspace, begun.session.session, share_device=True)
    resumed.release()
    plan = resumed.session.plan
    assert plan == begun.session.plan
    assert plan.token_ids("primes") == expected(TINY / "tiny_qwen3", "primes")["primes"]
    told = instructions.told(plan, plan.jobs[0], plan.arms[0], {}, resumed.ground)
    assert [(prompt.id, prompt.token_ids) for prompt in told.prompts] == [("primes", plan.token_ids("primes"))]
