"""NVIDIA's compiler, which needs neither a card nor a driver: NVRTC through ctypes, or nvcc where only that is there.

NVRTC is what CuPy uses. It is found where CHAINRULE_NVRTC says, where the pip packages put it, or where the loader does.
"""

import ctypes
import ctypes.util
import functools
import os
import shutil
import subprocess
import sys
import tempfile
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


def compiler():
    """ "nvrtc", "nvcc" or None."""
    return "nvrtc" if library() else "nvcc" if shutil.which("nvcc") else None


def cubin(text, flags):
    """The machine code of CUDA C++ source text, as bytes; AssertionError with the compiler's messages if there are any."""
    return (_by_nvrtc if library() else _by_nvcc)(text, flags)


def _by_nvcc(text, flags):
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        source.write_text(text)
        command = ["nvcc", "-cubin", *flags, "-o", str(made), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return made.read_bytes()


def _by_nvrtc(text, flags):
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
