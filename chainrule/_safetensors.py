"""The safetensors container, with a checksum for every tensor and one for the header.

A file is the header's length (8 bytes, little-endian), the header (JSON: name -> dtype, shape, offsets; padded with
spaces), and the tensors' bytes one after the other, little-endian, in C order. The format has room for text under
`__metadata__`: the checksums are kept there, so every other reader takes the file too.
The reader believes nothing: each number is checked before memory is asked for. Format: the safetensors project's README.
"""

import hashlib
import json
import math
import re
import sys
import zlib

import numpy as np

MAX_HEADER = 100_000_000
MAX_TENSORS = 100_000
MAX_RANK = 64

# The format's names of element types, NumPy's (or ml_dtypes') names, and the bytes of one element.
_TYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "U16": ("uint16", 2),
    "I16": ("int16", 2),
    "U32": ("uint32", 4),
    "I32": ("int32", 4),
    "U64": ("uint64", 8),
    "I64": ("int64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
}
_NAMES = {numpy_name: name for name, (numpy_name, _) in _TYPES.items()}
_FROM_ML_DTYPES = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}

_CHECKSUMS, _DIGEST = "chainrule.checksums", "chainrule.header"
_NO_DIGEST = "0" * 32


class CheckpointError(RuntimeError):
    """A file that cannot be loaded: `file`, `tensor` (None where no single one is at fault) and `reason`."""

    def __init__(self, file, reason, tensor=None):
        super().__init__(f"{file}: {'' if tensor is None else f'tensor {tensor!r}: '}{reason}")
        self.file, self.reason, self.tensor = file, reason, tensor

    def __reduce__(self):
        return CheckpointError, (self.file, self.reason, self.tensor)


def storable(dtype):
    """Whether arrays of this NumPy dtype have a name in the format."""
    return dtype.name in _NAMES


def pieces(arrays, metadata):
    """The file as a list of bytes-like pieces: name -> NumPy array, and text by name to keep with them.

    ValueError for more tensors, more dimensions or a longer header than readers accept.
    """
    # Large elements first: each tensor then starts at a multiple of its element size, for readers that map the file.
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    if len(ordered) > MAX_TENSORS:
        raise ValueError(f"save: {len(ordered):,} tensors; a file holds at most {MAX_TENSORS:,}")
    table, checksums, data, position = {}, {}, [], 0
    for name, array in ordered:
        raw = _little_endian(array)
        table[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (position, position + len(raw)),
        }
        checksums[name] = f"{zlib.crc32(raw):08x}"
        data.append(raw)
        position += len(raw)
    text = {**metadata, _CHECKSUMS: _dump(checksums), _DIGEST: _NO_DIGEST}
    header = _dump({"__metadata__": text, **table}).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER:
        raise ValueError(
            f"save: the header takes {len(header):,} bytes, more than the {MAX_HEADER:,} that readers accept; "
            f"keep long lists of numbers as arrays"
        )
    length = len(header).to_bytes(8, "little")
    header = header.replace(_digest_entry(_NO_DIGEST), _digest_entry(_digest(length, header)))
    return [length, header, *data]


def read(file, size, where, verify=True):
    """(name -> NumPy array, metadata, whether this module wrote it) of an open binary file of `size` bytes.

    `where` names the file in errors. Checksums are checked if the file has them, unless `verify` is False.
    CheckpointError for anything but a sound file.
    """
    length_bytes = file.read(8)
    length = int.from_bytes(length_bytes, "little")
    _check_start(length_bytes, length, size, where)
    raw_header = file.read(length)
    header = _parse(raw_header, where)
    metadata = _check_metadata(header.pop("__metadata__", {}), where)
    table = _check_table(header, size - 8 - length, where)
    # One flipped bit can spoil one of these names, not both: such a file is not taken for someone else's.
    own = any(name.startswith("chainrule.") for name in metadata)
    checksums = None
    if own:
        checksums = _check_own(metadata, raw_header, length_bytes, table, where, verify)
    arrays = {}
    for name, (kind, shape, count) in table.items():
        raw = np.empty(count, np.uint8)
        if file.readinto(raw) != count:
            raise CheckpointError(where, "the file ended while it was read", name)
        if checksums is not None and verify and f"{zlib.crc32(raw):08x}" != checksums[name]:
            raise CheckpointError(where, "its checksum does not match: the data was damaged", name)
        arrays[name] = _interpret(raw, kind, shape, where, name)
    return {name: arrays[name] for name in header}, metadata, own


# --- bytes ---


def _dump(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _digest(length, header):
    """The checksum of the header, computed while its own place holds zeros."""

    return hashlib.blake2b(length + header, digest_size=16).hexdigest()


def _digest_entry(digest):
    return f'"{_DIGEST}":"{digest}"'.encode()


def _little_endian(array):
    """The elements in C order and little-endian, as a flat memoryview of bytes; a copy only if it must be."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    raw = np.asarray(array, order="C").reshape(-1).view(np.uint8)
    return memoryview(_swap(raw, _TYPES[_NAMES[array.dtype.name]]))


def _swap(raw, kind):
    """Bytes between this machine's order and the file's; nothing to do on a little-endian machine."""
    numpy_name, itemsize = kind
    unit = 4 if numpy_name == "complex64" else itemsize
    return raw if sys.byteorder == "little" else raw.view(f"u{unit}").byteswap().view(np.uint8)


def _interpret(raw, kind, shape, where, name):
    """The bytes of one tensor as an array."""
    numpy_name, _ = kind
    raw = _swap(raw, kind)
    if numpy_name == "bool" and raw.size and raw.max() > 1:
        raise CheckpointError(where, "a bool is neither 0 nor 1", name)
    if numpy_name in _FROM_ML_DTYPES:
        try:
            import ml_dtypes
        except ImportError:
            if numpy_name != "bfloat16":
                raise CheckpointError(
                    where, f"{numpy_name} needs the package ml_dtypes: pip install ml_dtypes", name
                ) from None
            # A bfloat16 is the upper half of a float32.
            flat = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            flat = raw.view(getattr(ml_dtypes, numpy_name))
    else:
        flat = raw.view(numpy_name)
    try:
        return flat.reshape(shape)
    except ValueError as error:  # an empty tensor whose other dimensions NumPy finds too large
        raise CheckpointError(where, f"shape {shape} is not possible: {error}", name) from None


# --- checks ---


def _check_start(length_bytes, length, size, where):
    if len(length_bytes) < 8:
        raise CheckpointError(where, f"the file has {size} bytes, too few for a header")
    if length > MAX_HEADER:
        raise CheckpointError(
            where, f"the header claims {length:,} bytes; at most {MAX_HEADER:,} are accepted"
        )
    if length > size - 8:
        raise CheckpointError(
            where,
            f"the header claims {length:,} bytes, the file has {size:,}: it is truncated or no checkpoint",
        )


def _parse(raw, where):
    """The header as a dict; every way in which JSON can be wrong is a CheckpointError."""

    def unique(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name comes twice")
        return found

    def refuse(text):
        raise ValueError(f"{text} is no number")

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(where, f"the header is not valid: {error}") from None
    if not isinstance(header, dict):
        raise CheckpointError(where, f"the header is a {type(header).__name__}, not an object")
    return header


def _check_metadata(metadata, where):
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise CheckpointError(where, "__metadata__ must hold text by name")
    return metadata


def _check_table(header, size, where):
    """name -> ((NumPy type name, itemsize), shape, bytes) in the order of the data, which the tensors cover exactly."""
    if len(header) > MAX_TENSORS:
        raise CheckpointError(where, f"{len(header):,} tensors; at most {MAX_TENSORS:,} are accepted")
    found = []
    for name, entry in header.items():
        kind, shape, begin, end = _check_entry(name, entry, where)
        count = math.prod(shape) * kind[1]
        if end - begin != count:
            raise CheckpointError(
                where,
                f"{end - begin} bytes for shape {list(shape)} of {entry['dtype']}, which takes {count}",
                name,
            )
        found.append((begin, end, name, kind, shape))
    position, table = 0, {}
    for begin, end, name, kind, shape in sorted(found):
        if begin != position:
            fault = "overlaps the tensor before it" if begin < position else "leaves a gap before it"
            raise CheckpointError(where, f"its data starts at {begin}, not at {position}: it {fault}", name)
        table[name] = (kind, shape, end - begin)
        position = end
    if position != size:
        fault = "the file is truncated" if position > size else "something was appended"
        raise CheckpointError(where, f"the tensors take {position:,} bytes, the file has {size:,}: {fault}")
    return table


def _check_entry(name, entry, where):
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(where, "its entry must hold dtype, shape and data_offsets", name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise CheckpointError(where, f"dtype {dtype!r} is not one of {', '.join(_TYPES)}", name)
    if not _is_sizes(shape) or len(shape) > MAX_RANK:
        raise CheckpointError(where, f"its shape must be a list of at most {MAX_RANK} sizes", name)
    if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(where, "its data_offsets must be a begin and an end", name)
    return _TYPES[dtype], tuple(shape), *offsets


def _is_sizes(value):
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**63 for one in value)


def _check_own(metadata, raw_header, length_bytes, table, where, verify):
    """The checksum of each tensor, after a check of the header's own."""
    digest = metadata.get(_DIGEST, "")
    if verify:
        if not re.fullmatch("[0-9a-f]{32}", digest):
            raise CheckpointError(where, "the header's checksum is missing: the file was damaged")
        entry = _digest_entry(digest)
        blank = raw_header.replace(entry, _digest_entry(_NO_DIGEST))
        if raw_header.count(entry) != 1 or _digest(length_bytes, blank) != digest:
            raise CheckpointError(where, "the header's checksum does not match: the file was damaged")
    checksums = _parse(metadata.get(_CHECKSUMS, "").encode("utf-8", "surrogatepass"), where)
    if checksums.keys() != table.keys():
        raise CheckpointError(where, "there is not one checksum for each tensor")
    return checksums
