"""A session that is taken up again with options: those that its plan has are allowed, others are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.session.conftest import Finished
from zmlx_bench.errors import UnusableInput
from zmlx_bench.session import planned
from zmlx_bench.session.request import Request

ALIKE: dict[str, Any] = {
    "runs": ("runs", lambda s: s.plan.blocks),
    "tokens": ("tokens", lambda s: list(s.plan.tokens)[::-1] * 2),
    "variants": ("variants", lambda s: [arm.name for arm in s.plan.arms if arm.role == "variant"][::-1]),
    "all": ("variants", lambda _: ["all"]),
    "checkpoint": ("checkpoint", lambda s: s.checkpoint_option),
    "checkpoint auto": ("checkpoint", lambda _: "auto"),
    "backend": ("backend", lambda _: "cpu"),
    "backend auto": ("backend", lambda _: "auto"),
    "seed": ("seed", lambda s: s.plan.seed),
    "timeout": ("timeout_s", lambda _: None),
}
OTHERS: dict[str, tuple[str, Any, str, str]] = {
    "tokens": ("tokens", [7], "tokens", "--tokens"),
    "runs": ("runs", 999, "runs", "--runs"),
    "until_decided": ("until_decided", True, "until_decided", "--until-decided"),
    "at_most": ("at_most", 12, "at_most", "--at-most"),
    "variants": ("variants", ["another"], "variants", "--variants"),
    "checkpoint": ("checkpoint", "synthetic", "checkpoint", "--checkpoint"),
    "backend": ("backend", "cuda", "backend", "--backend"),
    "null_arm": ("null_arm", False, "no_null", "--no-null"),
    "cooldown": ("cooldown_s", 3.0, "cooldown", "--cooldown"),
    "cool": ("cool", True, "cooldown", "--cooldown"),
    "timeout": ("timeout_s", 12.5, "timeout", "--timeout"),
    "prompts": ("prompts", "primes", "prompts", "--prompts"),
    "environment": ("environments", ["mlx==9.9"], "environment", "--environment"),
    "seed": ("seed", 77, "seed", "--seed"),
    "trust": ("trust_remote_code", True, "trust_remote_code", "--trust-remote-code"),
    "layers": ("layers", 3, "layers", "--layers"),
    "context": ("context", 512, "context", "--context"),
    "batch": ("batch", 4, "batch", "--batch"),
    "kv_bits": ("kv_bits", 8, "kv_bits", "--kv-bits"),
    "max_kv_size": ("max_kv_size", 256, "max_kv_size", "--max-kv-size"),
    "audit": ("audit", True, "audit", "--audit"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_what_the_plan_says_may_be_said_again(undisturbed: Finished, case: str) -> None:
    field, value = ALIKE[case]
    session = undisturbed.session
    name = {"timeout_s": "timeout"}.get(field, field)
    planned.check(
        undisturbed.workspace,
        session,
        Request("qwen3", **{field: value(session)}),
        {name, "family", "force"},
        "--resume",
    )


@pytest.mark.parametrize("case", OTHERS)
def test_what_it_does_not_say_is_refused_by_name(undisturbed: Finished, case: str) -> None:
    field, value, name, option = OTHERS[case]
    request = Request("qwen3", **{field: value})
    with pytest.raises(UnusableInput, match=f"--extend .* otherwise than {option} says, .* leave it out"):
        planned.check(undisturbed.workspace, undisturbed.session, request, {name, "workspace"}, "--extend")
    # A default that nobody gave asks for nothing.
    planned.check(undisturbed.workspace, undisturbed.session, request, set(), "--resume")


def test_a_session_of_another_family_is_refused(undisturbed: Finished) -> None:
    with pytest.raises(UnusableInput, match=r"--resume .* is a session of qwen3, not of glm47"):
        planned.check(undisturbed.workspace, undisturbed.session, Request("glm47"), set(), "--resume")


def test_a_checkpoint_is_the_plans_wherever_it_is_named_from(
    undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "models" / "one", tmp_path / "models" / "other"
    for folder in (one, other):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(one)
    monkeypatch.chdir(tmp_path)
    session = undisturbed.session.model_copy(update={"checkpoint_option": str(one)})
    for text in ("models/one", "models/one/", "./models/../models/one", "link", str(one)):
        planned.check(
            undisturbed.workspace,
            session,
            Request("qwen3", checkpoint=text),
            {"checkpoint", "in_familys_place"},
            "--resume",
        )
    for text in ("models/other", "models", "models/none"):
        with pytest.raises(UnusableInput, match="otherwise than the checkpoint in FAMILY's place says"):
            planned.check(
                undisturbed.workspace, session, Request("qwen3", checkpoint=text), {"in_familys_place"}, "--resume"
            )


def test_a_hub_id_without_its_commit_is_the_plans(undisturbed: Finished) -> None:
    session = undisturbed.session.model_copy(update={"checkpoint_option": "owner/name@c0ffee"})
    for text in ("owner/name", "owner/name@c0ffee"):
        planned.check(undisturbed.workspace, session, Request("qwen3", checkpoint=text), {"checkpoint"}, "--resume")
    for text in ("owner/other", "owner/name@bad"):
        with pytest.raises(UnusableInput, match="otherwise than --checkpoint says"):
            planned.check(undisturbed.workspace, session, Request("qwen3", checkpoint=text), {"checkpoint"}, "--resume")


def test_every_option_that_differs_is_named_and_nothing_is_touched(
    undisturbed: Finished, zmlx_inside: Callable[..., Any]
) -> None:
    place = undisturbed.workspace.session(undisturbed.session.session) / "session.json"
    before = place.read_bytes()
    where = ("--workspace", str(undisturbed.workspace.root))
    for option in ("--resume", "--extend"):
        given = (option, undisturbed.session.session, "--tokens", "9", "--seed", "5", "--backend", "cpu")
        done = zmlx_inside("run", "qwen3", *given, *where)
        assert done.returncode == 3
        assert f"{option} {undisturbed.session.session}: was planned otherwise than --tokens, --seed say" in done.stderr
    assert place.read_bytes() == before
