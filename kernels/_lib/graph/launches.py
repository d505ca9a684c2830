"""The text and the launches of a graph: kernels as bodies with constants, put together into one program."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import mlx.core as mx

from ..gpu.cuda import CudaLaunch, Template
from ..gpu.settle import TYPES, constants
from ..gpu.text import short

_PRELUDE = (Path(__file__).resolve().parent / "device.h").read_text()
_TYPES = {**TYPES["cuda"], mx.uint32: "uint32_t", mx.int32: "int", mx.uint64: "unsigned long long"}

WORKSPACE = 2 * (32 << 20)
"""Bytes: what MLX lets cuBLASLt have on compute capability 9.0 and above, for two products at once."""


class Parameter(NamedTuple):
    """What a launch is given: `value` is an array, or an Input, Output, Buffer or Number of the extension."""

    name: str
    value: Any
    dtype: mx.Dtype | None = None
    """Of what lies at the address; None for a number."""


def named(name: str, parameter: Parameter) -> Parameter:
    """Return the parameter under the name that a body has for it."""
    return parameter._replace(name=name)


def array(name: str, value: mx.array) -> Parameter:
    """Return the parameter of an array that stays."""
    return Parameter(name, value, value.dtype)


def by_name(*parameters: Parameter) -> Mapping[str, Parameter]:
    """Return the parameters by their names."""
    return {each.name: each for each in parameters}


@dataclass(frozen=True)
class Planned:
    """A launch of a body; `blocks` counts thread blocks, `shared_memory` is in bytes."""

    name: str
    body: str
    constants: Template
    inputs: Sequence[Parameter]
    outputs: Sequence[Parameter]
    blocks: tuple[int, int, int]
    threads: int
    shared_memory: int = 0
    resident: int = 0
    """Blocks that a multiprocessor has to have registers for, so that others may start; 0: as the compiler likes."""
    cluster: int = 1
    """Blocks of the second dimension that run together and may read each other's shared memory."""
    macros: Mapping[str, str] = field(default_factory=dict)
    """Names in the body that stand for text of this launch."""
    waits: bool = True
    """Whether the body says where its inputs have to be ready; else all of it waits for the launch before it."""


@dataclass(frozen=True)
class Multiplied:
    """A product as MLX has cuBLASLt make it: out (rows, cols) = a (rows, depth) times b, (depth, cols) or, transposed,
    (cols, depth), all bfloat16. `cols` or `depth` may be a Number of the extension."""

    a: Parameter
    b: Parameter
    out: Parameter
    rows: int
    cols: Any
    depth: Any
    transposed: bool
    aside: bool = False
    """Whether it runs beside what follows it, up to the next product and with that."""


Link = Planned | Multiplied


def planned(
    launch: CudaLaunch, values: Mapping[str, Parameter], macros: Mapping[str, str], *more: str, resident: int = 0
) -> Planned:
    """Return a launch that mx.fast.cuda_kernel knows, with its inputs and outputs by name and `more` inputs.

    A constant that stands in `macros` is left out.
    """
    source = launch.source
    return Planned(
        source.name,
        source.body,
        {name: value for name, value in launch.template.items() if name not in macros},
        [values[name] for name in (*source.inputs, *more)],
        [values[name] for name in source.outputs],
        (*launch.blocks, 1),
        launch.threads,
        launch.shared_memory,
        macros=macros,
        resident=resident,
    )


def _declared(parameter: Parameter, written: bool) -> str:
    if parameter.dtype is None:
        return f"int {parameter.name}"
    return f"{'' if written else 'const '}{_TYPES[parameter.dtype]}* {parameter.name}"


def function(launch: Planned) -> tuple[str, str]:
    """Return the name and the text of the launch's kernel; launches of one kernel have the same."""
    names = [_declared(each, False) for each in launch.inputs] + [_declared(each, True) for each in launch.outputs]
    ready = "" if launch.waits else "inputs_ready();\n"
    body = f"({', '.join(names)}) {{\n{constants(tuple(launch.constants.items()), 'cuda')}{ready}{launch.body}\n}}\n"
    cluster = f" __cluster_dims__(1, {launch.cluster}, 1)" if launch.cluster > 1 else ""
    resident = f", {launch.resident}" if launch.resident else ""
    bounds = f"__launch_bounds__({launch.threads}{resident}){cluster}"
    defined = "".join(f"#define {name} {text}\n" for name, text in launch.macros.items())
    undefined = "".join(f"#undef {name}\n" for name in launch.macros)
    known = hashlib.sha256(f"{bounds}{defined}{body}".encode()).hexdigest()[:12]
    name = f"{launch.name}_{known}"
    return name, f'{defined}extern "C" __global__ void {bounds} {name}{body}{undefined}'


def program(headers: str, launches: Sequence[Planned]) -> str:
    """Return the text of all kernels of the launches, each once, after `headers`."""
    functions = dict(function(each) for each in launches)
    return short(_PRELUDE + headers + "".join(functions.values()))


def make_graph(extension: ModuleType, code: bytes, launches: Sequence[Planned], spares: Sequence[mx.array]) -> Any:
    """Return the executable graph of the launches, one after the other."""
    return extension.Graph(code, [_made(extension, each, i > 0) for i, each in enumerate(launches)], list(spares))


def make_chain(extension: ModuleType, code: bytes, links: Sequence[Link], spares: Sequence[mx.array]) -> Any:
    """Return the chain of launches and products, one after the other."""
    made = []
    ahead = False
    for i, each in enumerate(links):
        if isinstance(each, Planned):
            # What lies between the first link and the last may be a graph, which neither overlaps.
            made.append(_made(extension, each, ahead and 1 < i < len(links) - 1))
            ahead = True
        else:
            made.append(_product(extension, each))
            # What comes after a product waits for it, but for one aside.
            ahead &= each.aside
    workspace = mx.zeros((WORKSPACE,), mx.uint8)
    mx.eval(workspace)
    return extension.Chain(code, made, list(spares), workspace)


def _made(extension: ModuleType, launch: Planned, ahead: bool) -> Any:
    return extension.Launch(
        kernel=function(launch)[0],
        blocks=list(launch.blocks),
        threads=launch.threads,
        shared_bytes=launch.shared_memory,
        ahead=ahead,
        parameters=[given.value for given in (*launch.inputs, *launch.outputs)],
    )


def _product(extension: ModuleType, given: Multiplied) -> Any:
    return extension.Product(
        a=given.a.value,
        b=given.b.value,
        out=given.out.value,
        rows=given.rows,
        cols=given.cols,
        depth=given.depth,
        transposed=given.transposed,
        aside=given.aside,
    )
