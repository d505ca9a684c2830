"""What `zmlx screen` was asked for, whether that can be done at all, and the commands that it leads to."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.plan import Timeouts
from zmlx_bench.session import request as session_request

MOST_PROCESSES = 200


@dataclass(frozen=True)
class Request:
    """The options of `zmlx screen`."""

    family: str
    variants: Sequence[str] | None = None
    tokens: int = 128
    processes: int = 3
    checkpoint: str = "auto"
    backend: str = "auto"
    timeout_s: float | None = None
    prompts: str | None = None
    seed: int = 0
    trust_remote_code: bool = False
    force: bool = False
    layers: int | None = None
    context: int | None = None
    batch: int = 1
    kv_bits: int | None = None
    max_kv_size: int | None = None
    share_device: bool = False
    workspace: str | None = None
    """As it was given, for the commands."""

    @property
    def of_session(self) -> session_request.Request:
        """The same as a session's, whose options mean the same."""
        return session_request.Request(
            family=self.family,
            tokens=(self.tokens,),
            checkpoint=self.checkpoint,
            backend=self.backend,
            timeout_s=self.timeout_s,
            seed=self.seed,
            prompts=self.prompts,
            trust_remote_code=self.trust_remote_code,
            force=self.force,
            layers=self.layers,
            context=self.context,
            batch=self.batch,
            kv_bits=self.kv_bits,
            max_kv_size=self.max_kv_size,
            share_device=self.share_device,
        )


def check(request: Request) -> Timeouts:
    """Return the limits of a process's silence; UnusableInput names the option that cannot be used."""
    session_request.check(request.of_session)
    if not 1 <= request.processes <= MOST_PROCESSES:
        raise UnusableInput(f"--processes {request.processes}: must be from 1 to {MOST_PROCESSES}")
    return session_request.timeouts_of(request.of_session)


def session_command(
    request: Request, checkpoint: str, names: Iterable[str], budgets: Iterable[int], at_most: int
) -> str:
    """Return the `zmlx run` that measures the variants `names` as the policy asks for it, until they are decided."""
    asked = [part for tokens in sorted(budgets) for part in ("--tokens", str(tokens))]
    return _command("run", request, checkpoint, names, [*asked, "--until-decided", "--at-most", str(at_most)])


def screen_command(request: Request, checkpoint: str, names: Iterable[str], processes: int) -> str:
    """Return the `zmlx screen` of the variants `names` with more processes."""
    asked = ["--tokens", str(request.tokens)] if request.tokens != Request.tokens else []
    return _command("screen", request, checkpoint, names, [*asked, "--processes", str(min(processes, MOST_PROCESSES))])


def _command(command: str, request: Request, checkpoint: str, names: Iterable[str], more: Sequence[str]) -> str:
    words = ["zmlx", command, request.family, "--variants", ",".join(names), "--checkpoint", checkpoint, *more]
    for option, value in (
        ("--backend", request.backend if request.backend != "auto" else None),
        ("--prompts", request.prompts),
        ("--layers", request.layers),
        ("--seed", request.seed or None),
        ("--workspace", request.workspace),
    ):
        words += [option, str(value)] if value is not None else []
    words += request.of_session.conditions.options
    for option, wanted in (("--trust-remote-code", request.trust_remote_code), ("--force", request.force)):
        words += [option] if wanted else []
    return shlex.join(words)
