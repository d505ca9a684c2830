"""How figures are written for people: one way everywhere; a thing not measured is a dash."""

from __future__ import annotations

from collections.abc import Iterator

from zmlx_bench.catalog import families
from zmlx_bench.printable import said
from zmlx_bench.schema.audit import Audit, AuditFigures, Nearness
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.environment import Environment
from zmlx_bench.schema.figures import Fidelity, Ratio
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.policy import NEAR_STOCK_TOP1
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session.spent import Spent

DASH = "-"
SHORT = 12
"""Hex digits of a digest that are shown."""
DIGEST = 64


def number(value: float | None, digits: int = 1) -> str:
    """Return a figure with fixed digits."""
    return DASH if value is None else f"{value:.{digits}f}"


def count(of: int, what: str) -> str:
    """Return a number of things, such as `1 block` or `3 blocks`."""
    return f"{of} {what}{'' if of == 1 else 's'}"


def ratio(value: Ratio | None) -> str:
    """Return `1.023x [1.010, 1.036]`, the interval where there is one."""
    return DASH if value is None else spanned(value.value, value.low, value.high)


def spanned(value: float | None, low: float | None, high: float | None) -> str:
    """Return a ratio with its interval as `ratio` does."""
    if value is None:
        return DASH
    return f"{value:.3f}x" if low is None or high is None else f"{value:.3f}x [{low:.3f}, {high:.3f}]"


def conditions(value: Conditions) -> Iterator[str]:
    """Yield `context 3000`, `kv bits 8`, ...: what is not as by default."""
    for name, each in zip(value.options[::2], value.options[1::2], strict=True):
        together = " (tok/s of all together)" if name == "--batch" else ""
        yield f"{name.removeprefix('--').replace('-', ' ')} {each}{together}"


def interval(value: Ratio | None) -> str:
    """Return `1.010-1.036`, the interval alone."""
    if value is None or value.low is None or value.high is None:
        return DASH
    return f"{value.low:.3f}-{value.high:.3f}"


def fidelity(value: Fidelity | None) -> str:
    """Return `identical` or where the first prompt diverged."""
    if value is None:
        return DASH
    if value.verdict == "identical":
        return "identical"
    worst = min((p for p in value.prompts if not p.identical), key=lambda p: p.matched)
    return f"diverged at {worst.first_divergence} ({worst.prompt})"


def breaks_word(variant: ResolvedVariant, backend: Backend) -> str | None:
    """Say of a variant that is not the baseline's what finds its kernel that is not stock's, though all of its kernels
    say so; None where something else may be why: numerics that it declares, variables, an environment of its own; and
    where nothing finds it, as in a family without a folder."""
    if not variant.kernels or variant.env or variant.environment or variant.fidelity == "near":
        return None
    if families.is_structural(variant.family):
        return None
    if any(use.numerics != "stock" for use in variant.kernels):
        return None
    names = " ".join(f"{use.kernel}.{use.mode}" for use in variant.kernels)
    command = f"`zmlx kernels verify {names} --family {variant.family} --backend {backend}`"
    return f"its kernels say that they repeat stock: {command} looks for what does not"


_SPENT = (
    ("preparing", "preparing_s"),
    ("starting", "start_up_s"),
    ("loading", "load_s"),
    ("binding", "bind_s"),
    ("compiling ahead", "compiling_s"),
    ("compiling and warming up", "warm_up_s"),
    ("prefill", "prefill_s"),
    ("timed decode", "timed_decode_s"),
    ("untimed decode", "untimed_decode_s"),
    ("audits", "audit_s"),
    ("waiting", "waiting_s"),
    ("other", "other_s"),
)


def spent(value: Spent) -> Iterator[str]:
    """Yield where a session's time went: the whole, then each part that came to a twentieth of a second."""
    yield f"{value.total_s:.1f} s, {value.processes} processes:"
    for name, field in _SPENT:
        seconds: float = getattr(value, field)
        if seconds >= 0.05:
            yield f"{name} {seconds:.1f} s"


def audit(found: Audit, least: float = NEAR_STOCK_TOP1) -> str:
    """Return which arm an audit found nearer to float32, and by how much; of a near variant the bounds too.

    Where stock agrees with float32 at a smaller share of the positions than `least`, the policy's `near_stock_top1`,
    which arm is nearer is chance, and is not said.
    """
    if found.figures is None:
        return f"no figures: {found.status}" + (f", {said(found.message)}" if found.message else "")
    told = _distances(found.figures, least)
    return told if found.near is None else f"{told}; {_nearness(found.near)}"


def _nearness(found: Nearness) -> str:
    bounds = (
        f"{what} {each.mean:.2g}" + ("" if each.upper is None else f" [{each.lower:.2g}, {each.upper:.2g}]")
        for what, each in (("KL", found.kl), ("loss of top-1", found.top1))
    )
    return (
        f"declared near: farther than stock by {' and '.join(bounds)} "
        f"(one-sided 95% bounds over {found.prompts} prompts of {found.positions} positions)"
    )


def _distances(figures: AuditFigures, least: float) -> str:
    ours, stock = figures.variant, figures.baseline
    if stock.top1_agreement < least:
        chance = "which is nearer is chance and says nothing of the kernels"
        told = "neither is near" if figures.nearer == "equal" else chance
        found = (
            f"stock itself agrees with float32 at {stock.top1_agreement:.1%} of the positions, so {told}: "
            f"mean KL {ours.kl_mean:.3g} nats, the baseline's {stock.kl_mean:.3g}"
        )
    elif figures.nearer == "equal":
        found = f"as near to float32 as the baseline: mean KL {stock.kl_mean:.3g} nats both"
    else:
        count = figures.variant_nearer if figures.nearer == "variant" else figures.baseline_nearer
        found = (
            f"the {figures.nearer} is nearer to float32 (smaller KL at {count} of {figures.positions} positions): "
            f"mean KL {ours.kl_mean:.3g} nats, the baseline's {stock.kl_mean:.3g}"
        )
    return (
        f"{found}; top-1 agreement {ours.top1_agreement:.1%} and {stock.top1_agreement:.1%}, "
        f"largest logit error {ours.max_error:.3g} and {stock.max_error:.3g}"
    )


def digest(value: str) -> str:
    """Return the first digits of a checkpoint's digest; the whole of what stands for one."""
    return value[:SHORT] if len(value) == DIGEST else value


def gigabytes(value: float | None) -> str:
    """Return GB with digits that suit its size."""
    if value is None:
        return DASH
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def environment(value: Environment) -> str:
    """Return what an arm ran in where that is not the environment of its baseline."""
    asked = f", as {', '.join(value.requirements)}" if value.requirements else ""
    parts = [f"Python {value.python}, {value.platform}"]
    for name, package in value.packages.items():
        commit = "" if package.commit is None else f" at {package.commit[:SHORT]}{' (dirty)' if package.dirty else ''}"
        parts.append(f"{name.replace('_', '-')} {package.version or 'of no version'}{commit}")
    return f"{said(value.asked)} ({value.digest[:SHORT]}){asked}: {', '.join(parts)}"


def company(busy_by_others: float | None, *, shared: bool) -> str:
    """Return what else used the machine while workers ran; empty where nothing is known and nothing was shared."""
    parts = ["the device was shared with another session on request"] if shared else []
    if busy_by_others is not None:
        parts.append(f"other processes kept up to {busy_by_others:.1f} cores busy while a worker ran")
    return "; ".join(parts)


def clock_set(seconds: float | None) -> str:
    """Return by how much the time of day was set during a session; empty where by less than a second, or unknown."""
    if seconds is None or abs(seconds) < 1:
        return ""
    return f"the time of day was set by {seconds:+.0f} s while it ran"
