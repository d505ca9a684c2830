"""A session with a variant that is declared near: what it needs, and what it records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.session.conftest import FP32, Finished, finished
from zmlx_bench.analysis.near import nearness
from zmlx_bench.catalog import prompts
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.check.capsule import check_capsule
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide
from zmlx_bench.report.build import build
from zmlx_bench.report.overview_text import markdown
from zmlx_bench.session.near import audit_positions
from zmlx_bench.session.request import Request
from zmlx_bench.workspace import Workspace

NEAR = "qwen_combine_near"


def positions(repository: Workspace, variant: str, wanted: str | None, **options: Any) -> int | None:
    resolved = Catalog(repository, "qwen3").resolve(variant)
    request = Request(family="qwen3", variants=[variant], prompts=wanted, **options)
    return audit_positions(request, [resolved], prompts.load(wanted), repository)


def test_an_audit_of_enough_positions_comes_by_itself(repository: Workspace) -> None:
    assert positions(repository, NEAR, "near", tokens=(200,)) == 100
    assert positions(repository, NEAR, "near", tokens=(100,), audit=True) == 100
    assert positions(repository, FP32, None, tokens=(200,)) is None
    assert positions(repository, FP32, None, tokens=(200,), audit=True) == 64
    assert positions(repository, FP32, None, tokens=(20,), audit=True) == 20


@pytest.mark.parametrize(
    ("wanted", "options", "says"),
    [
        (None, {"tokens": (200,)}, "--prompts: 6 prompts; qwen_combine_near is declared near, which takes 20"),
        ("near", {"tokens": (60, 99)}, "--tokens 99: .* answers of 100 tokens at least: --tokens 100"),
        ("near", {"tokens": (200,), "kv_bits": 8}, "--kv-bits 8: .* the default conditions alone"),
    ],
)
def test_what_could_not_show_it_is_refused_with_the_remedy(
    wanted: str | None, options: dict[str, Any], says: str, repository: Workspace
) -> None:
    with pytest.raises(UnusableInput, match=says) as caught:
        positions(repository, NEAR, wanted, **options)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def session(make_workspace: Callable[..., Workspace], zmlx: Callable[..., Any]) -> Finished:
    """A rounding that is stock's no more, and what is wrong; fewer positions than the packaged policy asks for."""
    place = make_workspace("doubles")
    path = place.variants / "qwen3.toml"
    wrong = '\n[variant.wrong]\nwhy = "x"\nextends = "doubles"\nfidelity = "near"\n'
    path.write_text(path.read_text() + wrong)
    policy = place.variants / "policy.toml"
    text = policy.read_text().replace("near_positions = 100", "near_positions = 30")
    policy.write_text(text.replace("200 = 3\n1024 = 2", "30 = 2"))
    asked = ("--checkpoint", "tiny", "--tokens", "30", "--runs", "3", "--prompts", "near")
    done = zmlx("run", "qwen3", *asked, "--variants", f"{NEAR},wrong", "--workspace", str(place.root), timeout=3000)
    return finished(place, done)


@pytest.mark.slow
def test_what_is_wrong_is_rejected_and_what_is_near_enters_nothing(session: Finished) -> None:
    place = session.workspace
    assert check_workspace(place).findings == ()
    decided = decide(place, None)
    (decision,) = decided.decisions.values()
    verdicts = {v.variant: v for v in decision.verdicts}
    assert (decision.action, decision.recommended) == ("none", None)
    assert (verdicts["wrong"].verdict, verdicts["wrong"].reason) == ("REJECT", "near_kl")
    gates = {gate.id: gate.outcome for gate in verdicts[NEAR].gates}
    assert gates["near_prompts"] == gates["near_positions"] == "pass", verdicts[NEAR].gates
    assert gates["near_kl"] != "fail"
    assert decided.after.promotion == ()
    (group,) = build(place, None).groups
    assert {line.variant for line in group.near} == {NEAR, "wrong"}
    assert group.rejected == ()
    assert "declared near" in markdown([group], (), ()).lower()


@pytest.mark.slow
def test_its_bounds_follow_from_the_traces(session: Finished) -> None:
    capsule = session.capsule(NEAR)
    assert capsule.audit is not None
    assert capsule.audit.near == nearness(capsule.audit.prompts, capsule.outputs)
    audit = capsule.audit.model_dump(mode="json")
    audit["near"]["kl"]["upper"] = -1.0
    edited = type(capsule).model_validate({**capsule.model_dump(), "audit": audit}).sealed()
    audit.pop("near")
    without = type(capsule).model_validate({**capsule.model_dump(), "audit": audit}).sealed()
    (path,) = session.folder.glob(f"*_{NEAR}.json")
    name = f"capsules/{session.folder.name}/{path.name}"
    found = [{f.field for f in check_capsule(one, name, session.session)} for one in (edited, without)]
    assert found == [{"audit.near.kl.upper"}, {"audit.near"}]
