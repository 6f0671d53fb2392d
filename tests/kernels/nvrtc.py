"""NVRTC, NVIDIA's run-time compiler, through ctypes: it needs neither a card nor a driver.

It is found where the pip packages put it, where CHAINRULE_NVRTC says, or where the system's loader does.
"""

import ctypes
import ctypes.util
import functools
import os
import sys
from pathlib import Path


def _candidates():
    if os.environ.get("CHAINRULE_NVRTC"):
        yield os.environ["CHAINRULE_NVRTC"]
    for folder in sys.path:
        for path in sorted(Path(folder or ".").glob("nvidia/*/lib/libnvrtc.so.*"), reverse=True):
            yield str(path)
    for name in ("libnvrtc.so.13", "libnvrtc.so.12", ctypes.util.find_library("nvrtc")):
        if name:
            yield name


@functools.cache
def library():
    """The library, or None where there is none."""
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def cubin(text, flags):
    """The machine code of CUDA C++ source text, as bytes; AssertionError with the compiler's messages if there is any."""
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None) == 0
    try:
        flags = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        code = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
        messages = _text(nvrtc, program, "ProgramLog").decode().strip("\0\n ")
        assert code == 0 and not messages, messages or f"NVRTC error {code}"
        return _text(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc, program, what):
    size = ctypes.c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{what}")(program, buffer) == 0
    return buffer.raw
