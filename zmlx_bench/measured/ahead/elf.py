"""Reads what a shared library's symbols name, from its file: 64 bits, little-endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

_MAGIC = b"\x7fELF\x02\x01"
_SYMBOLS = 2
"""Type of a section that is a whole table of symbols."""
_OBJECT = 1


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


def objects(library: bytes, part: bytes) -> Mapping[str, bytes]:
    """Return the bytes of each object whose symbol has `part` in its name, by that name; the first of several.

    ValueError where it is no such file or has no table of symbols.
    """
    if not library.startswith(_MAGIC):
        raise ValueError("is no 64-bit ELF file")
    first, size, count = struct.unpack_from("<Q", library, 40)[0], *struct.unpack_from("<HH", library, 58)
    if size != _SECTION.size:
        raise ValueError("has section headers of another size")
    sections = [_Section(*_SECTION.unpack_from(library, first + i * size)) for i in range(count)]
    table = next((each for each in sections if each.type == _SYMBOLS), None)
    if table is None:
        raise ValueError("has no table of symbols")
    names = sections[table.link]
    start, end = names.offset, names.offset + names.size
    found: dict[str, bytes] = {}
    for name, info, _, section, value, length in _SYMBOL.iter_unpack(
        library[table.offset : table.offset + table.size // _SYMBOL.size * _SYMBOL.size]
    ):
        if info & 15 != _OBJECT or not 0 < section < count:
            continue
        called = library[start + name : library.index(b"\0", start + name, end)]
        if part in called:
            at = sections[section].offset + value - sections[section].address
            found.setdefault(called.decode("ascii"), library[at : at + length])
    return found
