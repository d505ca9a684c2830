"""From a shipped kernel's bitcode (AIR, LLVM's form for Apple's GPUs) to an object file of this processor.

Apple's compiler has optimised the module; here its address spaces are struck out, threadgroup arrays go where the
runtime poisons them, function constants get their values, and an entry is added that hands over buffers and places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Contraction = Literal["fused", "separate"]
"""How `llvm.fmuladd` becomes code, which the language leaves open: one rounding, or two."""
PLACES = (
    "threadgroup_position_in_grid",
    "thread_position_in_threadgroup",
    "thread_position_in_grid",
    "threads_per_threadgroup",
    "threadgroups_per_grid",
    "threads_per_grid",
    "thread_index_in_threadgroup",
    "thread_index_in_simdgroup",
    "simdgroup_index_in_threadgroup",
)
_POINTER_SPACE = re.compile(r" addrspace\([0-9]+\)")
_INTRINSIC_SPACE = re.compile(r"(@llvm\.[\w.]*?)\.p[1-3](?=[.(])")
_GROUP_ARRAY = re.compile(r"^(@\S+ = .*?)addrspace\(3\) global (.*?) undef, align (\d+)$", re.MULTILINE)
_GROUP_SECTION = r'\1global \2 zeroinitializer, section "shim_group_memory", align \3'
_FMULADD = re.compile(
    r"^(\s*)(%\S+) = (?:tail )?call float @llvm\.fmuladd\.f32\(float (\S+), float (\S+), float (\S+)\)"
)
_MULTIPLY = re.compile(
    r"^declare <64 x float> (@air\.simdgroup_matrix_8x8_multiply_accumulate[\w.]*)\(.*$", re.MULTILINE
)
_METADATA = re.compile(r"^(!\d+) = !\{(.*)\}$", re.MULTILINE)


class Parameter(NamedTuple):
    """A parameter of a kernel: the buffer of an index, or a place in the grid."""

    kind: str
    """`buffer`, or one of PLACES."""
    index: int
    type: str
    """Its LLVM type, without address space."""


def assembly(code: bytes) -> str:
    """Return the module's assembly as shipped."""
    import llvmlite.binding as llvm

    return str(llvm.parse_bitcode(code))


def lowered(
    text: str, names: Mapping[int, str], constants: Mapping[str, bool], contraction: Contraction, name: str
) -> bytes:
    """Return the object file of the kernel `name` in `text`, its assembly.

    `names` gives for each buffer, by its index and in the order that the runtime gets them, what errors call it;
    `constants` the kernel's function constants. Raises ValueError where either does not fit.
    """
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    parameters = parameters_of(text, name)
    wanted = {one.index for one in parameters if one.kind == "buffer"}
    if not wanted <= set(names):
        raise ValueError(f"{name} reads the buffers {sorted(wanted)}; given are {sorted(names)}")
    text = _with_constants(text, constants, name)
    text = _GROUP_ARRAY.sub(_GROUP_SECTION, text)
    if "addrspace(3) global" in text:
        raise ValueError(f"{name} has threadgroup memory of a form not known here")
    text = _MULTIPLY.sub(_multiply, text)
    text = _POINTER_SPACE.sub("", text).replace("addrspacecast", "bitcast")
    text = _INTRINSIC_SPACE.sub(r"\1.p0", text)
    text = "\n".join(_once(_contracted(line, contraction) for line in text.splitlines()))
    if re.search(r"call .*@llvm\.fmuladd", text):
        raise ValueError(f"{name} has fmuladd of a type not known here")
    text = re.sub(r'target triple = ".*"', f'target triple = "{llvm.get_default_triple()}"', text)
    text = re.sub(r'target datalayout = ".*"\n', "", text)
    text += _entry(name, parameters, names)
    module = llvm.parse_assembly(text)
    module.verify()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(opt=2, reloc="pic", codemodel="small", features=_features(llvm))
    built: bytes = machine.emit_object(module)
    return built


def parameters_of(text: str, name: str) -> list[Parameter]:
    """Return the parameters that the module's metadata names, in their order."""
    nodes = dict(_METADATA.findall(text))
    (found,) = re.findall(r"^!air\.kernel = !\{(!\d+)\}$", text, re.MULTILINE)
    listed = nodes[nodes[found].split(", ")[2]]
    signature = re.search(rf"^define .*@{re.escape(name)}\((.*)\)", text, re.MULTILINE)
    if signature is None:
        raise ValueError(f"{name} is not defined in its module")
    types = [_type(one) for one in re.split(r", (?![^<]*>)", signature[1])]
    parameters = []
    for node, type_ in zip(re.findall(r"!\d+", listed), types, strict=True):
        fields = nodes[node]
        kind = re.search(r'!"air\.(\w+)"', fields)
        index = re.search(r'!"air\.location_index", i32 (\d+)', fields)
        assert kind is not None
        parameters.append(Parameter(kind[1], int(index[1]) if index else -1, type_))
    for one in parameters:
        if one.kind not in ("buffer", *PLACES):
            raise ValueError(f"{name} takes {one.kind}, which is not known here")
    return parameters


def _type(parameter: str) -> str:
    vector = re.match(r"<\d+ x i\d+>", parameter)
    return vector[0] if vector else parameter.split()[0]


def _with_constants(text: str, constants: Mapping[str, bool], name: str) -> str:
    declared = dict(re.findall(r'^!\d+ = !\{ptr addrspace\(2\) (@\S+), !"bool", !"(\w+)", ', text, re.MULTILINE))
    known = {constant: place for place, constant in declared.items()}
    if set(known) != set(constants):
        raise ValueError(f"{name} has the function constants {sorted(known)}; given are {sorted(constants)}")
    for constant, place in known.items():
        text, changed = re.subn(
            rf"^{re.escape(place)} = .*$",
            f"{place} = internal constant i8 {int(constants[constant])}",
            text,
            flags=re.MULTILINE,
        )
        assert changed == 1
    return text.replace('section "air.static_init" ', "")


def _multiply(declared: re.Match[str]) -> str:
    """Return a product of matrices, of whose 64 elements a lane holds the first two, by way of what it holds."""
    lines = ["declare void @air_multiply_accumulate(ptr, ptr, ptr, ptr)"]
    lines += [f"define internal <64 x float> {declared[1]}(<64 x float> %a, <64 x float> %b, <64 x float> %c) {{"]
    for name in ("a", "b", "c"):
        lines += [
            f"  %own_{name} = shufflevector <64 x float> %{name}, <64 x float> poison, <2 x i32> <i32 0, i32 1>",
            f"  %at_{name} = alloca <2 x float>",
            f"  store <2 x float> %own_{name}, ptr %at_{name}",
        ]
    return "\n".join(
        [
            *lines,
            "  %out = alloca <2 x float>",
            "  call void @air_multiply_accumulate(ptr %at_a, ptr %at_b, ptr %at_c, ptr %out)",
            "  %first = getelementptr float, ptr %out, i64 0",
            "  %second = getelementptr float, ptr %out, i64 1",
            "  %x = load float, ptr %first",
            "  %y = load float, ptr %second",
            "  %half = insertelement <64 x float> %c, float %x, i32 0",
            "  %whole = insertelement <64 x float> %half, float %y, i32 1",
            "  ret <64 x float> %whole",
            "}",
        ]
    )


def _contracted(line: str, contraction: Contraction) -> str:
    found = _FMULADD.match(line)
    if found is None:
        return line
    indent, result, a, b, c = found.groups()
    if contraction == "fused":
        return f"{indent}{result} = call float @llvm.fma.f32(float {a}, float {b}, float {c})"
    product = f'%"product of {result[1:]}"'
    return f"{indent}{product} = fmul float {a}, {b}\n{indent}{result} = fadd float {product}, {c}"


def _once(lines: Any) -> list[str]:
    """Keep one of equal declarations: without address spaces two of them may be one."""
    kept: list[str] = []
    declared = set()
    for line in lines:
        match = re.match(r"declare .*(@[\w.]+)\(", line)
        if match is not None:
            if match[1] in declared:
                continue
            declared.add(match[1])
        kept.append(line)
    return [*kept, *(() if "@llvm.fma.f32" in declared else ("declare float @llvm.fma.f32(float, float, float)",))]


def _entry(name: str, parameters: Sequence[Parameter], names: Mapping[int, str]) -> str:
    """Return what the runtime calls: each buffer is a struct of which the first field is its address."""
    order = {index: at for at, index in enumerate(names)}
    lines, arguments = [], []
    for at, one in enumerate(parameters):
        if one.kind == "buffer":
            lines += [
                f"  %at{at} = getelementptr %Buffer, ptr %buffers, i64 {order[one.index]}",
                f"  %a{at} = load ptr, ptr %at{at}",
            ]
        else:
            lines += _place(at, one)
        arguments.append(f"{one.type} %a{at}")
    texts = [f'@name{at} = private constant [{len(n) + 1} x i8] c"{n}\\00"' for at, n in enumerate(names.values())]
    pointers = ", ".join(f"ptr @name{at}" for at in range(len(names)))
    return "\n".join(
        [
            "",
            "%Buffer = type { ptr, ptr, ptr, i32 }",
            *texts,
            f"@shim_names = constant [{len(names)} x ptr] [{pointers}]",
            "@shim_whole_groups = constant i8 0",
            # MLX's reductions end the threads past a row before their barrier.
            "@shim_lanes_may_leave = constant i8 1",
            "declare i32 @air_place(i32, i32)",
            "define void @shim_call(ptr %buffers) {",
            *lines,
            f"  call void @{name}({', '.join(arguments)})",
            "  ret void",
            "}",
            "",
        ]
    )


def _place(at: int, parameter: Parameter) -> list[str]:
    what = PLACES.index(parameter.kind)
    vector = re.fullmatch(r"<(\d+) x (i\d+)>", parameter.type)
    width = vector[2] if vector else parameter.type
    cast = "bitcast" if width == "i32" else "trunc"
    lines = []
    for axis in range(int(vector[1]) if vector else 1):
        value = f"%v{at}.{axis}" if vector else f"%a{at}"
        lines += [
            f"  %p{at}.{axis} = call i32 @air_place(i32 {what}, i32 {axis})",
            f"  {value} = {cast} i32 %p{at}.{axis} to {width}",
        ]
        if vector:
            before = "poison" if axis == 0 else f"%b{at}.{axis - 1}"
            after = f"%a{at}" if axis == int(vector[1]) - 1 else f"%b{at}.{axis}"
            lines.append(f"  {after} = insertelement {parameter.type} {before}, {width} {value}, i32 {axis}")
    return lines


def _features(llvm: Any) -> str:
    """Return the processor's own conversion of halves and its fma where it has them: they round as the calls do."""
    has = llvm.get_host_cpu_features()
    return ",".join(f"+{name}" for name in ("fma", "f16c") if has.get(name))
