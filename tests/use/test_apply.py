"""`zmlx_bench.apply` on the tiny models: what is promoted for exactly this group goes in, else it says why not."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

import zmlx_bench
from tests.tiny import Tiny, equal
from tests.use.promoted import fail_here, promote, promotion
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.checkpoints import resolve
from zmlx_bench.checkpoints.resolve import TINY, locate
from zmlx_bench.errors import UnusableInput
from zmlx_bench.machine import facts
from zmlx_bench.use.decide import nothing_promoted
from zmlx_bench.workspace import Workspace

Make = Callable[..., Workspace]


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op", "doubles", "unavailable")


def apply(tiny: Tiny, place: Workspace, **options: Any) -> zmlx_bench.Applied:
    return zmlx_bench.apply(tiny.model, workspace=place.root, **options)


def test_what_is_promoted_goes_in_and_comes_out_again(tiny: Tiny, place: Workspace) -> None:
    promote(place, promotion(place, tiny.name, "doubles"))
    stock, state = tiny.logits(steps=1), tiny.state()
    applied = apply(tiny, place)
    try:
        assert applied
        assert applied.variant == "doubles"
        assert applied.sites == {"combine": tiny.moe_layers}
        assert applied.promotion is not None
        assert "1.25x [1.20, 1.30] at 200 tokens and 1.25x [1.20, 1.30] at 1024 tokens" in applied.why
        assert not equal(tiny.logits(steps=1), stock), "a kernel that doubles sits in the model"
        assert apply(tiny, place).why == "a variant sits in this model already; undo it first"
    finally:
        applied.undo()
    applied.undo()
    assert tiny.state() == state
    assert equal(tiny.logits(steps=1), stock)


@pytest.mark.parametrize("source", ["tiny", "folder"])
def test_the_checkpoint_may_be_named(tiny: Tiny, place: Workspace, source: str) -> None:
    promote(place, promotion(place, tiny.name, "no_op"))
    named = "tiny" if source == "tiny" else TINY / f"tiny_{tiny.name}"
    applied = apply(tiny, place, checkpoint=named, strict=True)
    applied.undo()
    assert applied.variant == "no_op"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"device": "Another CPU"}, "nothing is promoted for {family} on .* on Another CPU"),
        ({"mlx": "0.1.0"}, r"nothing is promoted for {family} on .* mlx 0\.1\.0"),
        ({"mlx_lm": "0.1.0"}, "nothing is promoted for {family} on .*"),
        ({"cores": 4096}, "nothing is promoted for {family} on .*"),
        ({"conditions": {"batch": 2}}, "nothing is promoted for {family} on .*"),
        ({"backend": "metal"}, r"nothing is promoted for {family} on .* \(metal\)"),
        ({"checkpoint_digest": "full-0123456789abcdef", "checkpoint": "full"}, "no_op is for full: say checkpoint="),
        ({"checkpoint_digest": "tiny-0123456789abcdef"}, "no_op is for tiny: say checkpoint="),
        (
            {"identity": "1" * 64, "parts": None, "rule": 1},
            "changed since it was measured; measure it again with `zmlx run",
        ),
        ({"variant": "gone"}, "gone is promoted here, but .* no longer declares it"),
    ],
)
def test_another_group_is_none_of_its_business(tiny: Tiny, place: Workspace, other: dict[str, Any], says: str) -> None:
    promote(place, promotion(place, tiny.name, "no_op", **other))
    state = tiny.state()
    applied = apply(tiny, place)
    assert not applied
    with pytest.raises(zmlx_bench.NotApplied, match=says.format(family=tiny.name)) as refused:
        apply(tiny, place, strict=True)
    assert str(refused.value) == applied.why
    assert refused.value.exit_code == 4
    assert tiny.state() == state


def test_what_speaks_against_a_promotion_that_stands_is_said(
    tiny: Tiny, make_workspace: Callable[..., Workspace]
) -> None:
    own = make_workspace("no_op")
    promote(own, promotion(own, tiny.name, "no_op"))
    session = fail_here(own, tiny.name, "no_op")
    applied = apply(tiny, own, strict=True)
    applied.undo()
    assert f"; DEFAULT IN DOUBT: no_op said other tokens than the model in session {session}: " in applied.why
    own.matrix.write_text("{\n")
    unread = apply(tiny, own, strict=True)
    unread.undo()
    assert f"; whether a session speaks against no_op cannot be told: {own.matrix}: line 1: " in unread.why


@pytest.mark.parametrize("recorded", [{}, {"cores": None}])
def test_a_promotion_of_hosts_whose_cores_were_not_recorded_is_in_doubt_by_sessions_here_and_by_its_own(
    tiny: Tiny, make_workspace: Callable[..., Workspace], recorded: dict[str, None]
) -> None:
    own = make_workspace("no_op")
    promote(own, promotion(own, tiny.name, "no_op", cores=None))
    session = fail_here(own, tiny.name, "no_op", **recorded)
    applied = apply(tiny, own)
    applied.undo()
    assert f"DEFAULT IN DOUBT: no_op said other tokens than the model in session {session}" in applied.why


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_what_changed_since_it_was_measured_is_said_and_strict_refuses_it(
    tiny: Tiny, make_workspace: Callable[..., Workspace]
) -> None:
    own = make_workspace("no_op")
    promote(own, promotion(own, tiny.name, "no_op"))
    kernel = own.kernels / "no_op" / "kernel.py"
    edit(kernel, "Binding(stock)", "Binding(stock)  # what stock does")
    applied = apply(tiny, own, strict=True)
    applied.undo()
    assert "earlier path" not in applied.why, "a comment is no change"
    edit(kernel, "axis=-2", "axis=y.ndim - 2")
    applied = apply(tiny, own)
    applied.undo()
    assert applied.variant == "no_op"
    assert applied.why.endswith("; it was measured on an earlier path: kernel no_op changed since")
    again = f"kernel no_op changed since; measure it again with `zmlx run {tiny.name} --variants no_op`"
    with pytest.raises(zmlx_bench.NotApplied, match=again):
        apply(tiny, own, strict=True)


def test_a_changed_path_around_the_kernels_is_told(tiny: Tiny, make_workspace: Callable[..., Workspace]) -> None:
    own = make_workspace("no_op")
    now = promotion(own, tiny.name, "no_op")
    assert now.parts is not None
    then = now.parts.model_copy(update={"path": "2" * 64, "digest": "3" * 64})
    promote(own, promotion(own, tiny.name, "no_op", identity=then.digest, parts=then))
    applied = apply(tiny, own)
    applied.undo()
    assert applied.why.endswith("; it was measured on an earlier path: the measured path changed since")


def test_a_variant_that_is_declared_otherwise_is_another_variant(
    tiny: Tiny, make_workspace: Callable[..., Workspace]
) -> None:
    own = make_workspace("no_op")
    promote(own, promotion(own, tiny.name, "no_op"))
    with (own.variants / f"{tiny.name}.toml").open("a") as file:
        file.write('env = { ZMLX_PLANTED = "7" }\n')
    assert "its kernels or its declaration changed since it was measured" in apply(tiny, own).why


def test_what_to_run_names_a_checkpoint_of_ones_own(
    tiny: Tiny, make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    own, folder = make_workspace("no_op"), tmp_path / "my model"
    shutil.copytree(TINY / f"tiny_{tiny.name}", folder)
    assert f"`zmlx run {tiny.name} --checkpoint '{folder}' --tokens" in apply(tiny, own, checkpoint=folder).why
    promote(own, promotion(own, tiny.name, "no_op", checkpoint="my-model", identity="1" * 64, parts=None, rule=1))
    again = f"`zmlx run {tiny.name} --checkpoint FOLDER_OR_HUB_ID --variants no_op`"
    assert again in apply(tiny, own, checkpoint=folder).why


def test_nothing_promoted_says_how_to_find_out(tiny: Tiny, place: Workspace) -> None:
    promote(place)
    assert f"`zmlx run {tiny.name} --tokens 200 --tokens 1024` and `zmlx promote` find out" in apply(tiny, place).why


def test_the_command_that_finds_out_can_be_copied_whatever_the_folder_is_called(
    place: Workspace, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(TINY / "tiny_qwen3", tmp_path / "my model's weights"))
    machine = facts.read("cpu")
    said = nothing_promoted(place, "qwen3", machine, locate("qwen3", str(folder), machine))
    command = shlex.split(said.split("`")[1])
    assert command[:5] == ["zmlx", "run", "qwen3", "--checkpoint", str(folder)]


def test_other_weights_are_another_checkpoint(tiny: Tiny, place: Workspace) -> None:
    promote(place, promotion(place, tiny.name, "no_op"))
    norm = tiny.model.model.norm
    before = norm.weight
    norm.weight = before + 1
    try:
        assert "which the model is not: model.norm.weight has other values" in apply(tiny, place).why
        named = apply(tiny, place, checkpoint="tiny")
        assert named.why == "the model is not the checkpoint tiny: model.norm.weight has other values"
    finally:
        norm.weight = before


def test_an_adapter_makes_it_another_checkpoint(tiny: Tiny, place: Workspace) -> None:
    from mlx_lm.tuner.lora import LoRALinear

    promote(place, promotion(place, tiny.name, "no_op"))
    attention = tiny.model.layers[0].self_attn
    before = attention.o_proj
    attention.o_proj = LoRALinear.from_base(before)
    try:
        assert "self_attn.o_proj.biases is not in the model" in apply(tiny, place).why
    finally:
        attention.o_proj = before


def test_another_configuration_is_another_checkpoint(tiny: Tiny, place: Workspace, tmp_path: Path) -> None:
    # The weights say nothing of the rotation.
    folder = tmp_path / "other"
    shutil.copytree(TINY / f"tiny_{tiny.name}", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 5000.0}))
    other = locate(tiny.name, str(folder), facts.read("cpu")).checkpoint.digest
    promote(place, promotion(place, tiny.name, "no_op", checkpoint_digest=other))
    assert "built from another configuration" in apply(tiny, place, checkpoint=folder).why


def test_a_near_variant_is_applied_by_its_name_only_and_says_so(tiny: Tiny, make_workspace: Make) -> None:
    place = make_workspace("doubles")
    promote(place, promotion(place, tiny.name, "doubles"))
    with (place.variants / f"{tiny.name}.toml").open("a") as file:
        file.write('\n[variant.nearly]\nwhy = "x"\nextends = "doubles"\nfidelity = "near"\n')
    applied = apply(tiny, place, variant="nearly")
    try:
        assert applied.variant == "nearly"
        assert "it is declared near: its tokens need not be those of stock" in applied.why
    finally:
        applied.undo()
    path = place.variants / f"{tiny.name}.toml"
    text = path.read_text().replace("[variant.doubles]\n", '[variant.doubles]\nfidelity = "near"\n')
    path.write_text(text)
    refused = apply(tiny, place)
    assert not refused, "what is promoted was measured against every token"
    assert "its declaration changed since it was measured" in refused.why


def test_a_variant_by_name_needs_no_promotion(tiny: Tiny, place: Workspace) -> None:
    promote(place)
    applied = apply(tiny, place, variant="no_op")
    applied.undo()
    assert (applied.variant, applied.promotion) == ("no_op", None)
    assert "asked for by name" in applied.why


def test_none_asks_for_the_stock_model(tiny: Tiny, place: Workspace) -> None:
    promote(place, promotion(place, tiny.name, "no_op"))
    state = tiny.state()
    assert not apply(tiny, place, variant="none", strict=True)
    assert tiny.state() == state


def test_a_kernel_that_cannot_serve_the_model_changes_nothing(tiny: Tiny, place: Workspace) -> None:
    promote(place, promotion(place, tiny.name, "unavailable"))
    state = tiny.state()
    assert apply(tiny, place).why == "unavailable cannot be applied: needs a machine that is not here"
    assert tiny.state() == state


def test_a_checkpoint_that_this_machine_cannot_hold(
    tiny: Tiny, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(place, promotion(place, tiny.name, "no_op"))
    hub_id = family_catalog.facts(tiny.name).hub_id
    # What an unplugged machine without the weights says, however much memory this one has.
    monkeypatch.setattr(resolve, "memory_gb", lambda _: 1.0)
    applied = apply(tiny, place, checkpoint=hub_id)
    assert not applied
    assert "and this machine has 1.0 GB" in applied.why


def test_an_unknown_variant_is_an_error_whether_strict_or_not(tiny: Tiny, place: Workspace) -> None:
    with pytest.raises(UnusableInput, match="did you mean 'no_op'"):
        apply(tiny, place, variant="no_up")


def test_a_variants_environment_has_to_stand(
    tiny: Tiny, make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_workspace("no_op")
    with (own.variants / f"{tiny.name}.toml").open("a") as file:
        file.write('env = { ZMLX_PLANTED = "7" }\n')
    promote(own, promotion(own, tiny.name, "no_op"))
    assert "needs ZMLX_PLANTED=7 in the environment before Python starts" in apply(tiny, own).why
    monkeypatch.setenv("ZMLX_PLANTED", "7")
    applied = apply(tiny, own)
    applied.undo()
    assert applied


def test_a_model_that_zmlx_does_not_know() -> None:
    class Other(nn.Module):
        model_type = "llama"

        def __call__(self, x: mx.array) -> mx.array:
            return x

    assert "nothing is promoted for any-llama" in zmlx_bench.apply(Other()).why
    assert "`zmlx run any-llama --checkpoint FOLDER_OR_HUB_ID " in zmlx_bench.apply(Other()).why
    with pytest.raises(zmlx_bench.NotApplied):
        zmlx_bench.apply(Other(), strict=True)


@pytest.mark.parametrize(
    ("thing", "said"), [(None, "a NoneType, which is no mlx-lm model"), (nn.Linear(2, 2), "a Linear")]
)
def test_what_is_no_model_is_named(place: Workspace, thing: Any, said: str) -> None:
    with pytest.raises(zmlx_bench.NotApplied, match=f"zmlx knows no sites in {said}"):
        zmlx_bench.apply(thing, workspace=place.root, strict=True)
