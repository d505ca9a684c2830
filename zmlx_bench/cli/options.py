"""Options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zmlx_bench.cli import complete

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", metavar="DIR", help="Workspace to use; default: the nearest one upwards."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
RehashOption = Annotated[
    bool, typer.Option("--rehash", help="Hash the weights that are here again and hold them against the evidence.")
]
FamilyArgument = Annotated[
    str,
    typer.Argument(
        metavar="FAMILY",
        help="Model family, as `zmlx models` lists them; or a checkpoint's folder or hub id.",
        autocompletion=complete.family,
    ),
]
OptionalFamily = Annotated[
    str | None,
    typer.Argument(metavar="FAMILY", help="Model family; default: all.", autocompletion=complete.family),
]

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of a command that hands mlx-lm's own options on."""
CheckpointOption = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="WHICH",
        help="auto, tiny, full[@REVISION], a folder, a hub id.",
        autocompletion=complete.checkpoint,
    ),
]
VariantOption = Annotated[
    str,
    typer.Option(
        "--variant", metavar="NAME", help="promoted, none, or a variant's name.", autocompletion=complete.variant
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse where no variant, or only one measured on an earlier path, applies.")
]
TrustOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Allow a checkpoint whose config names code to run.")
]
VariantsOption = Annotated[
    str | None,
    typer.Option(
        "--variants",
        metavar="A,B",
        help="Variants by comma, or 'all'; default: the defaults.",
        autocompletion=complete.variants,
    ),
]
MeasuredOption = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="WHICH",
        help="auto, tiny, synthetic, full[@REVISION], a folder, a hub id.",
        autocompletion=complete.checkpoint,
    ),
]
"""`--checkpoint` of a command that measures, which a synthetic one serves too."""
BackendOption = Annotated[
    str, typer.Option("--backend", help="auto, metal, cuda or cpu.", autocompletion=complete.backend)
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="S", help="Longest silence allowed from a process, seconds.")
]
OptionalTimeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="S",
        help="Longest silence allowed from a process, seconds; default: 900 to load, 300 to prefill, 60 a token.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Build a synthetic checkpoint even on a CPU.")]
LayersOption = Annotated[
    int | None, typer.Option("--layers", metavar="N", help="Build only N decoder layers of a synthetic checkpoint.")
]
ContextOption = Annotated[
    int | None, typer.Option("--context", metavar="N", help="Tokens of text in the cache before each prompt.")
]
BatchOption = Annotated[int, typer.Option("--batch", metavar="N", help="Sequences decoded at once.")]
KvBitsOption = Annotated[
    int | None, typer.Option("--kv-bits", metavar="N", help="Quantise the cache to N bits, from the first token on.")
]
MaxKvSizeOption = Annotated[
    int | None, typer.Option("--max-kv-size", metavar="N", help="Let the cache hold the last N tokens only.")
]
KernelNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME[.MODE]", help="Kernels or modes of them; default: all.", autocompletion=complete.kernel
    ),
]
FamiliesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="F",
        help="Model family; may be repeated; default: those with a tiny checkpoint, and your own.",
        autocompletion=complete.family,
    ),
]
WeightsSeed = Annotated[int, typer.Option("--seed", help="Of the random weights and inputs.")]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        metavar="IDS|near|FILE",
        help="Prompts by id, set or TOML file; the first is timed.",
        autocompletion=complete.prompts,
    ),
]
OrderSeed = Annotated[int, typer.Option("--seed", help="Of the order of arms and of synthetic weights.")]
ShareDeviceOption = Annotated[
    bool,
    typer.Option("--share-device", help="Measure although another session uses the device; it is recorded."),
]


def given(context: typer.Context) -> set[str]:
    """Return the parameters that the command line gave, and not their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}


def by_comma(names: str | None) -> list[str] | None:
    """Return the names of an option that takes several by comma; None where it was not given."""
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def command_line() -> tuple[str, ...]:
    """Return the command as it was typed, without the interpreter's path: what evidence records."""
    return ("zmlx", *sys.argv[1:])
