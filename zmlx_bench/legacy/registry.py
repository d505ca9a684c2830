"""Which module maps which layout; a new layout is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from zmlx_bench.errors import UnusableInput
from zmlx_bench.legacy.layouts import capsules, kernel_search, probe, rows, snapshot, stress, summary
from zmlx_bench.legacy.schema import LegacyImport, LegacyShape
from zmlx_bench.legacy.source import Source, explain, read_source


class Layout(NamedTuple):
    """How a layout is recognised and mapped."""

    recognise: Callable[[Any], LegacyShape | None]
    load: Callable[[Source, LegacyShape], LegacyImport]


LAYOUTS = tuple(
    Layout(module.recognise, module.load)
    for module in (capsules, summary, rows, snapshot, kernel_search, probe, stress)
)


def import_file(path: Path) -> LegacyImport:
    """Read, recognise and map one file; raise `UnusableInput` naming file and field where that is impossible."""
    source = read_source(path)
    for layout in LAYOUTS:
        shape = layout.recognise(source.data)
        if shape is not None:
            try:
                return layout.load(source, shape)
            except ValidationError as error:
                raise explain(path, shape, error) from error
            except ValueError as error:
                raise UnusableInput(f"{path}: looks like {shape}, but {error}") from error
    raise UnusableInput(f"{path}: none of the layouts that zmlx knows of the predecessor")
