"""Measures a capsule's variant again: the same protocol, or the nearest that this machine can do."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.errors import UnusableInput, ZmlxError
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts, heat, state
from zmlx_bench.replay.verdict import ReplayVerdict, judge_replay
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.prompts import PromptSet
from zmlx_bench.session import api
from zmlx_bench.session.elsewhere import name_of
from zmlx_bench.session.request import EncodedBefore, Request
from zmlx_bench.session.runner import Observer
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Overrides:
    """What the user changes against the capsule's protocol."""

    runs: int | None = None
    checkpoint: str | None = None
    trust_remote_code: bool = False
    share_device: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replay:
    """A replay that is planned; `instead` says what this machine cannot do and what it does in its place."""

    original: Capsule
    prepared: api.Prepared
    instead: tuple[str, ...]


def prepare(workspace: Workspace, capsule: Capsule, overrides: Overrides) -> Replay:
    """Plan a session of the capsule's variant alone, at its budget, with its prompts, seed and blocks."""
    if not capsule.intact:
        raise UnusableInput("the capsule's content is not what was hashed; `zmlx capsule verify` says where")
    backend, no_backend = _backend(capsule)
    option, no_checkpoint = _checkpoint(workspace, capsule, overrides, facts.read(backends.choose(backend)))
    # The stock model in an environment is declared by no file.
    other = capsule.variant.environment
    elsewhere = other is not None and name_of(other.asked) == capsule.variant.name
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            family=capsule.family,
            tokens=(capsule.tokens,),
            runs=overrides.runs or capsule.protocol.blocks,
            variants=None if elsewhere else (capsule.variant.name,),
            environments=(other.asked,) if other is not None and elsewhere else (),
            checkpoint=option,
            backend=backend,
            null_arm=capsule.protocol.null_arm,
            cooldown_s=capsule.protocol.cooldown_s,
            cool=capsule.protocol.cool_at_most_s is not None and heat.known(state.read(backends.choose(backend))),
            seed=capsule.protocol.seed,
            prompts=str(_write_prompts(capsule.prompts, Path(folder))),
            encoded_before=_encoded(capsule),
            trust_remote_code=overrides.trust_remote_code,
            force=capsule.machine.backend == "cpu",
            layers=capsule.checkpoint.layers if option == "synthetic" else None,
            context=capsule.conditions.context,
            batch=capsule.conditions.batch,
            kv_bits=capsule.conditions.kv_bits,
            max_kv_size=capsule.conditions.max_kv_size,
            share_device=overrides.share_device,
            command=overrides.command,
        )
        # An incumbent of today is no part of what the capsule measured.
        prepared = api.prepare(workspace, request, lambda *_: None)
    return Replay(capsule, prepared, (*no_backend, *no_checkpoint))


def measure(replay: Replay, observer: Observer) -> tuple[Capsule, ReplayVerdict]:
    """Run the planned session; it is recorded like any other. Return its capsule and the verdict."""
    _, capsules = api.complete(replay.prepared, observer)
    again = next((capsule for capsule in capsules if capsule.variant.name == replay.original.variant.name), None)
    if again is None:
        raise UnusableInput("the replay recorded no process of the variant")
    return again, judge_replay(replay.original, again, read_policy(replay.prepared.ground.workspace))


def _backend(capsule: Capsule) -> tuple[str, Sequence[str]]:
    wanted = capsule.machine.backend
    try:
        backends.choose(wanted)
    except ZmlxError as error:
        return backends.choose("auto"), [f"backend {wanted} is not here ({error}); measuring on another"]
    return wanted, []


def _checkpoint(
    workspace: Workspace, capsule: Capsule, overrides: Overrides, machine: Machine
) -> tuple[str, Sequence[str]]:
    """Return what `--checkpoint` must say, and what had to be replaced by the tiny checkpoint."""
    if overrides.checkpoint is not None:
        return overrides.checkpoint, []
    option = _option(capsule)
    if option is None:
        raise UnusableInput(
            f"the capsule was measured with a folder called {capsule.checkpoint.source}; say where it is: --checkpoint"
        )
    try:
        locate(
            capsule.family,
            option,
            machine,
            workspace=workspace,
            seed=capsule.protocol.seed,
            trust_remote_code=overrides.trust_remote_code,
            force=capsule.machine.backend == "cpu",
            layers=capsule.checkpoint.layers,
        )
    except ZmlxError as error:
        return "tiny", [f"checkpoint {capsule.checkpoint.label} is not possible here ({error}); measuring tiny"]
    return option, []


def _option(capsule: Capsule) -> str | None:
    checkpoint = capsule.checkpoint
    if checkpoint.kind == "full":
        return f"full@{checkpoint.source.rpartition('@')[2]}"
    options = {"tiny": "tiny", "synthetic": "synthetic", "hub": checkpoint.source}
    return options.get(checkpoint.kind)


def _encoded(capsule: Capsule) -> EncodedBefore | None:
    """Return what the capsule's processes prefilled: a template that writes the time would say another."""
    if capsule.encoded is None:
        return None
    return EncodedBefore(capsule.checkpoint.digest, capsule.prompts.sha256, capsule.encoded)


def _write_prompts(prompts: PromptSet, folder: Path) -> Path:
    path = folder / "prompts.toml"
    path.write_text(tomlkit.dumps(prompts.model_dump(mode="json")), encoding="utf-8")
    return path
