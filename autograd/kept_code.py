"""Byte code of the functions that `templates.py` writes, kept as Python keeps that of modules.

Compiling these texts takes longer than all else that `import chainrule` does. What was compiled is therefore written, when the
process ends, to the `__pycache__` beside this file, and read back by the next one. As with modules nothing is written where
byte code is not wanted (`python -B`) or the folder cannot be written, and then everything still works.
"""

import atexit
import contextlib
import importlib.util
import marshal
import os
import sys
from pathlib import Path

_HEADER = b"chainrule operations 1\n" + importlib.util.MAGIC_NUMBER
_codes = None  # source text -> code object
_news = False


def _path():
    made = Path(importlib.util.cache_from_source(__file__))
    return made.with_name(made.name.replace("kept_code", "operations").replace(".pyc", ".bin"))


def compiled(source, filename):
    """`compile(source, filename, "exec")`; if an earlier run did it, under the file name of then."""
    global _codes, _news
    if _codes is None:
        _codes = _read()
    code = _codes.get(source)
    if code is None:
        code = _codes[source] = compile(source, filename, "exec")
        if not _news and not sys.dont_write_bytecode:
            _news = True
            atexit.register(_write)
    return code


def _read():
    """What is kept, or nothing where there is no file or it is not whole."""
    try:
        data = _path().read_bytes()
        return marshal.loads(data[len(_HEADER) :]) if data.startswith(_HEADER) else {}
    except (OSError, ValueError, EOFError, TypeError, NotImplementedError):
        return {}


def _write():
    path = _path()
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(_HEADER + marshal.dumps(_codes))
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
