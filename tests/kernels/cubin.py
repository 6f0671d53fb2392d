"""What a kernel takes of a multiprocessor, read from its machine code: an ELF file whose sections are NVIDIA's."""

import struct
from collections import namedtuple

Resources = namedtuple("Resources", "registers shared stack")

# The attributes of section .nv.info with a symbol's number and a value.
_REGISTERS, _FRAME = 0x2F, 0x11


def resources(code):
    """{entry point: registers of a thread, bytes of shared memory of a block, bytes of a thread's stack}."""
    start, (count, names) = struct.unpack_from("<Q", code, 0x28)[0], struct.unpack_from("<HH", code, 0x3C)
    headers = [struct.unpack_from("<IIQQQQIIQQ", code, start + 64 * k) for k in range(count)]
    contents = [code[one[4] : one[4] + one[5]] for one in headers]
    sections = {
        _text(contents[names], one[0]): (one, held) for one, held in zip(headers, contents, strict=True)
    }
    symbols, strings = sections[".symtab"][1], sections[".strtab"][1]
    values, info = {}, sections[".nv.info"][1]
    at = 0
    while at < len(info):
        kind, attribute, size = struct.unpack_from("<BBH", info, at)
        if kind == 4 and attribute in (_REGISTERS, _FRAME):
            symbol, value = struct.unpack_from("<II", info, at + 4)
            name = _text(strings, struct.unpack_from("<I", symbols, 24 * symbol)[0])
            values[name, attribute] = value
        at += 4 + (size if kind == 4 else 0)
    entries = [name.removeprefix(".text.") for name in sections if name.startswith(".text.")]
    return {
        name: Resources(values[name, _REGISTERS], _size(sections, f".nv.shared.{name}"), values[name, _FRAME])
        for name in entries
    }


def _size(sections, name):
    return sections[name][0][5] if name in sections else 0


def _text(strings, at):
    return strings[at : strings.index(b"\0", at)].decode()
