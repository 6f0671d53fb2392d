"""Files of `torch.save`, read without PyTorch and without running anything in them.

Such a file is a zip archive (before PyTorch 1.6 a plain sequence, see `_read_sequence`): a pickle says how the objects are
nested, and each storage, a flat piece of memory that tensors are views of, is an entry beside it. A pickle is a program for
a small stack machine. Ours, in `_pickled`, knows only the instructions that make data; a name in the program is looked up
in one table of what data files need (`_pytorch_names`), never imported, and nothing but that table's functions are called.
"""

import re
import struct
import zipfile

import numpy as np

from ._pickled import Machine, Refused
from ._pytorch_names import Storage, World, is_count
from ._safetensors import CheckpointError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# What goes wrong in zipfile, NumPy and the functions below when a file makes no sense.
_FAULTS = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    struct.error, zipfile.BadZipFile,
)  # fmt: skip


def read(file, size, where, place):
    """The object in an open file of `size` bytes. `place(tensor, location, name)` puts a Tensor where it is wanted.

    CheckpointError, which names the file by `where`, for what is no such file, is damaged, or asks for more than data.
    """
    start = file.read(4)
    file.seek(0)

    def guarded(*tensor):
        try:
            return place(*tensor)
        except Exception as error:
            raise _Outside(error) from None

    try:
        if start == b"PK\x03\x04":
            return _read_zip(file, size, guarded)
        return _read_sequence(file.read(), guarded)
    except Refused as error:
        raise CheckpointError(where, str(error)) from None
    except _Outside as outside:
        raise outside.args[0] from None
    except _FAULTS as error:
        raise CheckpointError(where, f"the file is damaged or truncated: {error}") from None


class _Outside(Exception):
    """Carries an error of the caller's `place` past the handling of the file's own faults."""


# --- the two kinds of file ---


def _read_zip(file, size, place):
    archive = _Archive(file, size)
    if archive.has("constants.pkl"):
        raise Refused(
            "this is a TorchScript program (torch.jit.save), which is code; where it was written, save the state_dict()"
        )
    order = archive.read("byteorder").tobytes() if archive.has("byteorder") else b"little"
    storages = {}

    def storage(kind, key, location, count):
        if key not in storages:
            memory = archive.read(f"data/{key}")
            storages[key] = Storage(kind, memory, location, order, count, key)
            storages[key].check()
        return storages[key]

    return Machine(archive.read("data.pkl").tobytes(), World(storage, place)).run()


class _Archive:
    """The entries of a zip file, all of which lie in one folder; read once each, with their checksums compared."""

    def __init__(self, file, size):
        self._zip = zipfile.ZipFile(file)
        entries = self._zip.infolist()
        roots = [
            one.filename[: -len("data.pkl")]
            for one in entries
            if re.fullmatch(r"[^/]*/data\.pkl", one.filename)
        ]
        if len(roots) != 1:
            raise Refused("this zip archive was not written by torch.save: it has no single data.pkl")
        self._entries = {one.filename.removeprefix(roots[0]): one for one in entries}
        if len(self._entries) < len(entries):
            raise Refused("two entries of the archive have one name")
        if sum(one.file_size for one in entries) > size:
            raise Refused("its entries claim more bytes than the file has")

    def has(self, name):
        return name in self._entries

    def read(self, name):
        """The bytes of an entry, as an array."""
        if name not in self._entries:
            raise Refused(f"the archive has no entry {name!r}")
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"the entry {name!r} is compressed, which torch.save never does")
        data = np.empty(entry.file_size, np.uint8)
        with self._zip.open(entry) as source:
            done = 0
            while count := source.readinto(memoryview(data)[done:]):
                done += count
            source.read(1)  # the end is where the checksum is compared
        if done != len(data):
            raise Refused(f"the entry {name!r} is truncated")
        return data


def _read_sequence(data, place):
    """The format before PyTorch 1.6: pickles of a magic number, a version, facts of the machine, the object, the names of its
    storages; then the storages, each with its length before it."""
    storages = {}

    def storage(kind, key, location, count, view=None):
        if view is not None:
            raise Refused(
                "it holds a view of a storage, as PyTorch before 0.4 wrote them; save it anew with a later one"
            )
        if key not in storages:
            if not is_count(count) or count * kind.itemsize > len(data):
                raise Refused(f"storage {key!r} claims {count!r} elements, more than the file holds")
            memory = np.zeros(count * kind.itemsize, np.uint8)
            storages[key] = Storage(kind, memory, location, b"little", count, key)
        return storages[key]

    def run(position, place):
        machine = Machine(data, World(storage, place), position)
        return machine.run(), machine.position

    not_torch = "this is a pickle that torch.save did not write; a pickle is a program, and none is run here"
    try:
        magic, position = run(0, place)
    except (Refused, *_FAULTS):
        raise Refused(not_torch) from None
    if magic != _MAGIC:
        raise Refused(not_torch)
    version, position = run(position, place)
    machine, begin = run(position, place)
    if version != _PROTOCOL:
        raise Refused(
            f"it has version {version!r} of the format before PyTorch 1.6; only {_PROTOCOL} is known"
        )
    if machine["little_endian"] is not True:
        raise Refused("it was written on a big-endian machine; save it anew with PyTorch 1.6 or later")
    # What is nested how comes before the storages' content, so it is read twice: first for which storages there are.
    _, position = run(begin, lambda tensor, *_: tensor)
    keys, position = run(position, place)
    if sorted(keys) != sorted(storages):
        raise Refused("there is not one piece of data for each storage")
    for key in keys:
        one = storages[key]
        count = int.from_bytes(data[position : position + 8], "little")
        piece = np.frombuffer(data[position + 8 : position + 8 + len(one.memory)], np.uint8)
        if count != one.count or len(piece) != len(one.memory):
            raise Refused(f"storage {key!r} is truncated or damaged")
        one.memory[:] = piece
        one.check()
        position += 8 + len(piece)
    if position != len(data):
        raise Refused("something was appended")
    return run(begin, place)[0]
