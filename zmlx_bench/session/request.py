"""What `zmlx run` was asked for, and whether that can be done at all: the one place where its options are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zmlx_bench.errors import UnusableInput
from zmlx_bench.protocol.looks import AT_MOST
from zmlx_bench.schema.plan import Conditions, Contrast, Timeouts
from zmlx_bench.schema.prompts import Encoded

BLOCKS = 3
MOST_BLOCKS = 1000
"""Days on any machine; far beyond what resolves the smallest gain that the policy asks for."""


@dataclass(frozen=True)
class EncodedBefore:
    """Prompts that an earlier session made token ids."""

    checkpoint: str
    """Digest of the checkpoint whose tokenizer made them: they are used with that one alone."""
    prompts_sha256: str
    """Of the texts that they were made of: they are used for these alone."""
    encoded: Encoded


@dataclass(frozen=True)
class Request:
    """The options of `zmlx run`."""

    family: str
    tokens: Sequence[int] = (200,)
    runs: int | None = None
    """Blocks; None is `BLOCKS`, or with `until_decided` at most `at_most`."""
    until_decided: bool = False
    at_most: int | None = None
    contrast: Contrast | None = None
    """With `until_decided`: what decides, in the place of the verdicts of `zmlx promote`."""
    variants: Sequence[str] | None = None
    environments: Sequence[str] = ()
    """The stock model in each of these is measured too; then no variant is, unless it is named."""
    within: str | None = None
    """This variant in the one environment is measured, against the stock model there, and nothing else."""
    checkpoint: str = "auto"
    backend: str = "auto"
    null_arm: bool = True
    cooldown_s: float = 0.0
    cool: bool = False
    """Whether to wait before each timed process until the machine is as cool as at the session's start."""
    timeout_s: float | None = None
    seed: int = 0
    prompts: str | None = None
    encoded_before: EncodedBefore | None = None
    """Of the same prompts."""
    trust_remote_code: bool = False
    force: bool = False
    layers: int | None = None
    audit: bool = False
    context: int | None = None
    batch: int = 1
    kv_bits: int | None = None
    max_kv_size: int | None = None
    share_device: bool = False
    command: tuple[str, ...] = ()
    session: str | None = None
    """Its name, where whoever asks has given it one; None is a new one."""

    @property
    def conditions(self) -> Conditions:
        """Return how the model is to be run; UnusableInput where it cannot be."""
        return conditions_of(context=self.context, batch=self.batch, kv_bits=self.kv_bits, max_kv_size=self.max_kv_size)

    @property
    def most_blocks(self) -> int:
        """Return how many blocks are planned."""
        if self.until_decided:
            return AT_MOST if self.at_most is None else self.at_most
        return BLOCKS if self.runs is None else self.runs


def check(request: Request) -> None:
    """Raise UnusableInput naming the option that cannot be used."""
    for budget in request.tokens:
        if budget < 2:
            raise UnusableInput(f"--tokens {budget}: must be at least 2 (decode speed needs two tokens)")
    _check_blocks(request)
    if not request.conditions.default and request.audit:
        raise UnusableInput("--audit: compares logits under the default conditions alone; leave it out, or the others")
    if request.layers is not None and request.layers < 1:
        raise UnusableInput(f"--layers {request.layers}: must be at least 1")
    check_seed(request.seed)
    if not 0 <= request.cooldown_s <= MOST_WAIT_S:
        raise UnusableInput(f"--cooldown {request.cooldown_s:g}: must be seconds from 0 to {MOST_WAIT_S:.0f}")
    timeouts_of(request)


def _check_blocks(request: Request) -> None:
    option = "--at-most" if request.until_decided else "--runs"
    if request.until_decided and request.runs is not None:
        raise UnusableInput("--runs: with --until-decided the blocks are bounded by --at-most")
    if request.at_most is not None and not request.until_decided:
        raise UnusableInput("--at-most: bounds the blocks of --until-decided; a fixed number of them is --runs")
    has_null = request.null_arm or request.within is not None
    if request.until_decided and not has_null and request.contrast is None:
        raise UnusableInput("--until-decided: nothing is decided without the null arm; leave --no-null out")
    if not 1 <= request.most_blocks <= MOST_BLOCKS:
        bound = "at least 1" if request.most_blocks < 1 else f"at most {MOST_BLOCKS}"
        raise UnusableInput(f"{option} {request.most_blocks}: must be {bound}")


MOST_WAIT_S = 86_400.0
"""A day: longer than anybody waits between two processes, or for one that says nothing."""
MOST_SEED = 2**63 - 1
"""What every generator of random numbers takes, and a file of evidence may say."""
KV_BITS = (2, 3, 4, 5, 6, 8)
MOST_CONTEXT = 1 << 20
MOST_BATCH = 256
LEAST_KV_SIZE = 5
"""mlx-lm's rotating cache never lets its first four tokens go."""
STEP_OF_PREFILL = 2048
"""Tokens that mlx-lm prefills at once: sequences of a batch begin together where all prompts are within it."""


def conditions_of(
    *, context: int | None = None, batch: int = 1, kv_bits: int | None = None, max_kv_size: int | None = None
) -> Conditions:
    """Return the conditions; UnusableInput for what is none, and what mlx-lm cannot run whatever the model."""
    bounds = (
        ("--context", context, 1, MOST_CONTEXT),
        ("--batch", batch, 1, MOST_BATCH),
        ("--max-kv-size", max_kv_size, LEAST_KV_SIZE, MOST_CONTEXT),
    )
    for option, value, least, most in bounds:
        if value is not None and not least <= value <= most:
            raise UnusableInput(f"{option} {value}: must be at {f'most {most}' if value > least else f'least {least}'}")
    if kv_bits is not None and kv_bits not in KV_BITS:
        raise UnusableInput(f"--kv-bits {kv_bits}: must be one of {', '.join(map(str, KV_BITS))}")
    if kv_bits is not None and max_kv_size is not None:
        raise UnusableInput("--kv-bits: mlx-lm quantises no cache that rotates; leave it or --max-kv-size out")
    if kv_bits is not None and batch > 1:
        raise UnusableInput("--kv-bits: mlx-lm's batched generation has no quantised cache; leave it or --batch out")
    return Conditions(context=context, batch=batch, kv_bits=kv_bits, max_kv_size=max_kv_size)


def check_batch(batch: int, encoded: Encoded) -> None:
    """Raise UnusableInput where mlx-lm would not begin all sequences of a batch in the same step."""
    for name, ids in encoded.token_ids.items():
        if batch > 1 and not 1 < len(ids) <= STEP_OF_PREFILL:
            raise UnusableInput(
                f"--batch {batch}: prompt {name!r} has {len(ids)} tokens; mlx-lm begins the sequences of a batch "
                f"together where each has from 2 to {STEP_OF_PREFILL}"
            )


def cooldown_of(text: str) -> tuple[float, bool]:
    """Return the seconds of `--cooldown`, and whether it asks to wait until the machine is cool."""
    if text.strip() == "cool":
        return 0.0, True
    try:
        return float(text), False
    except ValueError:
        raise UnusableInput(f"--cooldown {text}: must be a number of seconds, or `cool`") from None


def timeouts_of(request: Request) -> Timeouts:
    """Return the limits of a worker's silence; UnusableInput for a --timeout that is no time."""
    silence_s = request.timeout_s
    if silence_s is None:
        return Timeouts()
    check_timeout(silence_s)
    return Timeouts(load_s=silence_s, prefill_s=silence_s, decode_s=silence_s)


def check_seed(seed: int) -> None:
    """Raise UnusableInput for a --seed that is none."""
    if not 0 <= seed <= MOST_SEED:
        bound = "must not be negative" if seed < 0 else f"must be at most {MOST_SEED}"
        raise UnusableInput(f"--seed {seed}: {bound}")


def check_timeout(silence_s: float) -> None:
    """Raise UnusableInput for a --timeout that is no time to wait."""
    if not 0 < silence_s <= MOST_WAIT_S:
        raise UnusableInput(f"--timeout {silence_s:g}: must be above 0 seconds and at most {MOST_WAIT_S:.0f}")
