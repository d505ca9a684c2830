"""The evidence by device: which variant is promoted where, and where the verdicts on a variant differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from zmlx_bench.printable import markdown as plain
from zmlx_bench.report import words
from zmlx_bench.report.layout import Flow
from zmlx_bench.report.overview import GroupOverview
from zmlx_bench.report.overview_text import surroundings

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Place:
    """A group, as one of those that were asked the same."""

    where: str
    """Backend, device and versions."""
    promoted: str | None
    """Null is the stock model."""
    verdicts: dict[str, str | None]
    """By variant; null where its capsules are not here."""


@dataclass(frozen=True)
class Question:
    """What was asked of several devices: a family, with a checkpoint, under conditions."""

    what: str
    places: tuple[Place, ...]

    @property
    def differing(self) -> dict[str, dict[str, list[str]]]:
        """Return the variants whose verdicts differ: by variant and verdict, where."""
        found: dict[str, dict[str, list[str]]] = {}
        for place in self.places:
            for variant, verdict in place.verdicts.items():
                if verdict is not None:
                    found.setdefault(variant, {}).setdefault(verdict, []).append(place.where)
        return {variant: by for variant, by in sorted(found.items()) if len(by) > 1}


def questions(groups: Iterable[GroupOverview]) -> tuple[Question, ...]:
    """Return the groups by what was asked, in their order."""
    found: dict[str, list[Place]] = {}
    for group in groups:
        key = group.key
        under = [*words.conditions(key.conditions)]
        # A synthetic checkpoint is made on the spot: each device has another of the same sizes.
        which = "" if group.checkpoint == SYNTHETIC else f" ({words.digest(key.checkpoint)})"
        asked = ", ".join([key.family, f"checkpoint {group.checkpoint}{which}", *under])
        around = [one for one in surroundings(key) if one not in under]
        where = ", ".join([f"{key.device} ({key.backend})", *around])
        verdicts = {line.variant: line.verdict for line in group.lines}
        found.setdefault(asked, []).append(Place(where, group.promoted, verdicts))
    return tuple(Question(what, tuple(places)) for what, places in found.items())


def as_json(asked: Sequence[Question]) -> list[dict[str, Any]]:
    """Return the questions as plain values."""
    return [
        {
            "question": one.what,
            "places": [
                {"where": place.where, "promoted": place.promoted, "verdicts": place.verdicts} for place in one.places
            ],
            "differing": one.differing,
        }
        for one in asked
    ]


def text(asked: Sequence[Question]) -> RenderableType:
    """Return the questions for a terminal."""
    parts: list[RenderableType] = []
    for one in asked:
        parts.append(Text(one.what, "bold"))
        parts += [Flow([f"{place.where}:", _default(place)], indent=2, hang=4) for place in one.places]
        parts.append(Flow(["verdicts differ on:" if one.differing else _agree(one)], indent=2))
        parts += [Flow([f"{variant}:", *_by_verdict(by)], indent=4, hang=6) for variant, by in one.differing.items()]
    return Group(*parts) if parts else Text("No evidence yet: run `zmlx run`.")


def markdown(asked: Sequence[Question]) -> str:
    """Return the questions as Markdown."""
    out = ["# By device", ""]
    for one in asked:
        out += [f"## {plain(one.what)}", "", "| device | default |", "| --- | --- |"]
        out += [f"| {_cell(place.where)} | {_cell(_default(place))} |" for place in one.places]
        out += ["", "**Verdicts differ on**" if one.differing else _agree(one), ""]
        out += [f"- {plain(variant)}: {plain(' '.join(_by_verdict(by)))}" for variant, by in one.differing.items()]
        out += [""] if one.differing else []
    return "\n".join(out) if asked else "# By device\n\nNo evidence yet: run `zmlx run`.\n"


def _default(place: Place) -> str:
    return f"{place.promoted} is promoted" if place.promoted is not None else "the stock model"


def _agree(question: Question) -> str:
    if len(question.places) == 1:
        return "nothing to compare: it was asked of one device"
    return "no verdict differs between the devices"


def _by_verdict(by: dict[str, list[str]]) -> Iterator[str]:
    last = len(by) - 1
    for number, (verdict, where) in enumerate(sorted(by.items())):
        yield f"{verdict} on {' and '.join(where)}{';' if number < last else ''}"


def _cell(value: str) -> str:
    return plain(value).replace("|", "\\|")
