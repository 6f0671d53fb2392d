"""Checkpoints: everything comes back as it was, and a damaged file never passes for a sound one."""

import io
import json
import os
import pickle
import random
import re
import resource
import signal
import stat
import struct
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import _atomic, _safetensors
from chainrule.io import CheckpointError, load, save

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
GOLDEN = Path(__file__).parent / "golden"


def example():
    """An object with everything that can be saved."""
    weight = cr.randn(3, 4)
    return {
        "model": OrderedDict(weight=weight, bias=cr.tensor(2.5), transposed=weight.t(), tied=weight),
        3: [1, (2, None, True, -0.0, 1e-300, float("inf"), 2**100, -(2**63), 1j), [], {}, ()],
        ("a", 1): np.arange(6).reshape(2, 3).T,
        "text": 'naïve \ud800 \0 "quoted" 𝄞',
        "bytes": bytes(range(256)),
        "empty": cr.zeros(0, 3),
        "complex": cr.tensor([1 + 2j], dtype=cr.complex128),
        "scalar": np.float32(3),
        "dtype": cr.float16,
        "device": cr.device("cuda", 1),
        "size": weight.shape,
    }


def same(a, b):
    """Equality with types, dtypes and shapes."""
    if isinstance(a, cr.Size):
        return type(b) is tuple and tuple(a) == b
    if type(a) is not type(b):
        return False
    if isinstance(a, cr.Tensor):
        return a.device == b.device and same(a.numpy(), b.numpy())
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def to_bytes(obj):
    file = io.BytesIO()
    save(obj, file)
    return file.getvalue()


def from_bytes(data, **options):
    return load(io.BytesIO(data), **options)


def container(header, data=b""):
    """A file with a header of our choice."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


# --- what goes in comes out ---


def test_everything_round_trips(tmp_path):
    obj = example()
    save(obj, tmp_path / "a.ckpt")
    loaded = load(tmp_path / "a.ckpt")
    assert same(obj, loaded)
    assert loaded["model"]["tied"] is loaded["model"]["weight"]
    assert same(obj, from_bytes(to_bytes(obj)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (0, 3), (2, 1, 3)])
def test_dtypes_and_shapes(dtype, shape):
    array = np.asarray(np.random.rand(*shape) * 4).astype(dtype)
    if array.dtype.kind == "c":
        array = np.asarray(array * np.asarray(1 - 2j, dtype))
    loaded = from_bytes(to_bytes({"x": cr.from_numpy(array), "y": array}))
    assert same(loaded["x"].numpy(), array) and same(loaded["y"], array)
    assert loaded["x"].dtype == cr.from_numpy(array).dtype


def test_the_state_of_every_schedule_is_stored():
    optimizer = cr.optim.SGD([cr.zeros(1, requires_grad=True)], lr=0.1)
    schedule = cr.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4, 4])
    loaded = from_bytes(to_bytes(schedule.state_dict()))
    assert type(loaded["milestones"]) is Counter and loaded == schedule.state_dict()


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_arrays_of_types_that_tensors_lack(dtype):
    array = np.arange(3, dtype=dtype)
    assert same(from_bytes(to_bytes([array])), [array])


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::2],
        lambda a: a[:, ::-1],
        lambda a: a[1:, 1:],
        np.asfortranarray,
        lambda a: a[1, 2],
    ],
    ids=["transposed", "strided", "reversed", "cut out", "fortran", "element"],
)
def test_layouts(view):
    array = view(np.arange(20.0).reshape(4, 5))
    assert same(from_bytes(to_bytes({"x": np.asarray(array)})), {"x": np.array(array, order="C")})


def test_other_byte_order():
    array = np.arange(5, dtype=">i4")
    loaded = from_bytes(to_bytes({"x": array}))["x"]
    assert loaded.dtype == np.dtype("int32") and (loaded == array).all()


@pytest.mark.parametrize("dtype", ["int16", "float32", "complex64", "bool"])
def test_a_big_endian_machine_swaps_bytes(monkeypatch, dtype):
    array = np.array([1, 0, 1]).astype(dtype)
    monkeypatch.setattr(_safetensors.sys, "byteorder", "big")
    data = to_bytes({"x": array})
    assert same(from_bytes(data)["x"], array)
    assert data.endswith(array.astype(array.dtype.newbyteorder(">")).tobytes())


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = cr.tensor([1.0, -2.5, float("inf"), 1e-40], dtype=cr.bfloat16)
    data = to_bytes({"x": values})
    assert b'"BF16"' in data
    loaded = from_bytes(data)["x"]
    assert loaded.dtype == cr.bfloat16 and loaded.numpy().dtype == ml_dtypes.bfloat16
    assert loaded.numpy().tobytes() == values.numpy().tobytes()


def test_bfloat16_without_ml_dtypes(monkeypatch):
    pytest.importorskip("ml_dtypes")
    data = to_bytes({"x": cr.tensor([1.0, -2.5, 1e-40], dtype=cr.bfloat16)})
    expected = cr.tensor([1.0, -2.5, 1e-40], dtype=cr.bfloat16).numpy().astype("float32")
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert same(from_bytes(data)["x"].numpy(), expected)


def test_gradients_and_parameters_are_not_stored():
    x = cr.ones(2, requires_grad=True)
    x.sum().backward()
    loaded = from_bytes(to_bytes({"x": x, "y": x * 2}))
    assert type(loaded["x"]) is cr.Tensor and not loaded["x"].requires_grad and loaded["x"].grad is None
    assert loaded["y"].tolist() == [2.0, 2.0] and not loaded["y"].requires_grad


def test_loaded_arrays_are_writable_and_separate():
    loaded = from_bytes(to_bytes({"x": np.zeros(3), "y": np.zeros(3)}))
    loaded["x"][:] = 1
    assert (loaded["y"] == 0).all()


def test_names_are_readable_and_unique():
    a, b = cr.zeros(1), cr.ones(1)
    obj = {"a": {"b": a}, "a.b": b, "": [cr.zeros(2)], "__metadata__": cr.ones(2)}
    data = to_bytes(obj)
    assert same(from_bytes(data), obj)
    assert b'"a.b":{' in data and b'"a.b#2":{' in data


def test_saving_does_not_change_the_tensors():
    x = cr.randn(3, 3)
    before, version = x.numpy().copy(), x._version
    to_bytes({"x": x, "t": x.t()})
    assert (x.numpy() == before).all() and x._version == version


# --- devices ---


def test_devices(device):
    x = cr.arange(3.0, device=device)
    data = to_bytes({"x": x})
    if cr.device(device).type != "cpu":
        assert from_bytes(data)["x"].device.type == device
        assert from_bytes(data, map_location="cpu")["x"].device == cr.device("cpu")
        assert from_bytes(data, map_location={str(x.device): "cpu"})["x"].device == cr.device("cpu")
    assert from_bytes(data, map_location=device)["x"].device.type == device
    assert from_bytes(data)["x"].tolist() == [0, 1, 2]


@pytest.mark.cpu_only
def test_map_location_function():
    seen = []

    def keep(tensor, location):
        seen.append((tensor.tolist(), location))
        return tensor * 2

    assert from_bytes(to_bytes([cr.ones(1)]), map_location=keep)[0].tolist() == [2.0]
    assert seen == [([1.0], "cpu")]

    def broken(tensor, location):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        from_bytes(to_bytes([cr.ones(1)]), map_location=broken)


def test_a_device_that_is_not_there(tmp_path):
    if cr.backends.get("cuda").available():
        pytest.skip("this machine has CUDA")
    file = GOLDEN / "saved_on_cuda.ckpt"
    with pytest.raises(RuntimeError, match='map_location="cpu"'):
        load(file)
    assert load(file, map_location="cpu").tolist() == [1.0, 2.0]


# --- what cannot be saved ---


class Module:
    def state_dict(self):
        return {}


@pytest.mark.parametrize(
    ("obj", "place"),
    [
        ({"a": [0, {1, 2}]}, r"object\['a'\]\[1\] is a builtins.set"),
        ({"m": Module()}, r"object\['m'\].*save its state_dict\(\)"),
        ({"m": lambda: 0}, r"object\['m'\].*function"),
        ({"x": np.array(["a"])}, r"object\['x'\] has elements of type <U1"),
        ({"x": np.array([None])}, "object"),
        ({"x": np.zeros(1, "M8[s]")}, "datetime64"),
        ({frozenset(): 1}, "key of type frozenset"),
        ({"x": {np.int64(1): 1}}, r"object\['x'\] has a key of type int64"),
        (type("D", (dict,), {})(), "the object is a .*plain dict"),
    ],
)
def test_other_types_are_refused_with_their_place(tmp_path, obj, place):
    with pytest.raises(TypeError, match=place):
        save(obj, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_depth():
    deep = cr.ones(1)
    for _ in range(100):
        deep = [deep]
    loaded = from_bytes(to_bytes(deep))
    for _ in range(100):
        (loaded,) = loaded
    assert loaded.item() == 1
    cycle = {}
    cycle["self"] = cycle
    with pytest.raises(ValueError, match="contains itself"):
        to_bytes(cycle)


def test_limits_when_saving(monkeypatch):
    monkeypatch.setattr(_safetensors, "MAX_TENSORS", 3)
    with pytest.raises(ValueError, match="at most 3"):
        to_bytes([np.zeros(1) for _ in range(4)])
    monkeypatch.setattr(_safetensors, "MAX_HEADER", 100)
    with pytest.raises(ValueError, match="header"):
        to_bytes(["x" * 100])


# --- other readers and writers ---


def test_safetensors_reads_our_files(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    weight = cr.randn(3, 4)
    state = {
        "weight": weight,
        "weight_t": weight.t(),
        "bias": cr.tensor(1.5),
        "tied": weight,
        "n": cr.zeros(0, 2),
    }
    save(state, tmp_path / "a.safetensors")
    theirs = safetensors.load_file(tmp_path / "a.safetensors")
    assert theirs.keys() == state.keys()
    assert all(same(np.array(state[name].numpy(), order="C"), theirs[name]) for name in state)
    ours = load(tmp_path / "a.safetensors")
    assert ours["tied"] is ours["weight"] and list(ours) == list(state)


def test_we_read_files_of_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    arrays = {
        "a": np.arange(6, dtype="float32").reshape(2, 3),
        "b": np.ones(3, ml_dtypes.bfloat16),
        "c": np.array([True, False]),
        "d": np.arange(2, dtype="uint16"),
    }
    safetensors.save_file(arrays, tmp_path / "a.safetensors", metadata={"format": "pt"})
    loaded = load(tmp_path / "a.safetensors", map_location="cpu")
    assert isinstance(loaded["a"], cr.Tensor) and isinstance(loaded["d"], np.ndarray)
    assert all(
        same(np.asarray(loaded[name] if name == "d" else loaded[name].numpy()), arrays[name])
        for name in arrays
    )


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (3, 4)])
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_both_ways_with_safetensors_of_pytorch(torch, tmp_path, dtype, shape):
    safetensors = pytest.importorskip("safetensors.torch")
    theirs = (torch.randn(shape) * 3).to(getattr(torch, dtype))
    safetensors.save_file({"x": theirs}, tmp_path / "theirs.safetensors")
    ours = load(tmp_path / "theirs.safetensors")["x"]
    assert str(ours.dtype) == f"chainrule.{dtype}" and ours.shape == shape
    save({"x": ours, "view": ours.t() if len(shape) == 2 else ours[None]}, tmp_path / "ours.safetensors")
    back = safetensors.load_file(tmp_path / "ours.safetensors")
    view = theirs.t() if len(shape) == 2 else theirs[None]
    for found, wanted in ((back["x"], theirs), (back["view"], view)):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape and torch.equal(found, wanted)


@pytest.mark.cpu_only
def test_golden_file():
    """A file written by version 0.1.0; every later version must read it."""
    loaded = load(GOLDEN / "version_1.ckpt")
    expected = {
        "model": OrderedDict(weight=cr.arange(6.0).reshape(2, 3), bias=cr.tensor(0.5)),
        "step": 7,
        "history": [0.5, float("inf"), (1, None)],
        3: np.arange(3, dtype="int16"),
        "z": cr.tensor([1 - 2j], dtype=cr.complex128),
    }
    assert same(expected, loaded)


# --- damage ---


@pytest.fixture(scope="module")
def sound():
    state = {
        "weight": cr.arange(6.0).reshape(2, 3),
        "step": 3,
        "flag": np.array([True, False]),
        "n": cr.zeros(0),
    }
    return to_bytes(state)


@pytest.mark.parametrize("part", range(8))
def test_every_truncation_is_noticed(sound, part):
    for length in range(part, len(sound), 8):
        with pytest.raises(CheckpointError):
            from_bytes(sound[:length])


@pytest.mark.parametrize("bit", range(8))
def test_every_bit_flip_is_noticed(sound, bit):
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << bit
        with pytest.raises(CheckpointError):
            from_bytes(bytes(damaged))


def test_appended_bytes_are_noticed(sound):
    with pytest.raises(CheckpointError, match="appended"):
        from_bytes(sound + b"\0")


def test_the_error_names_file_tensor_and_reason(tmp_path):
    path = tmp_path / "model.ckpt"
    save({"layer": {"weight": cr.ones(4)}}, path)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"model.ckpt: tensor 'layer.weight': its checksum") as caught:
        load(path)
    assert caught.value.tensor == "layer.weight" and caught.value.file == str(path)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and isinstance(again, RuntimeError)
    assert load(path, verify=False)["layer"]["weight"].shape == (4,)


def test_a_newer_version_is_named(sound, monkeypatch):
    monkeypatch.setattr(cr.io, "_VERSION", 2)
    newer = to_bytes({"a": 1})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="version '2'.*upgrade"):
        from_bytes(newer)


def test_missing_files_and_wrong_modes(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    with pytest.raises(TypeError, match="binary"):
        load(io.StringIO("text"))
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(CheckpointError, match="0 bytes"):
        load(tmp_path / "empty")


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "size", "reason"),
    [
        (b"", 0, "not valid"),
        (b"[]", 0, "list"),
        (b"{", 0, "not valid"),
        (b"\xff{}", 0, "not valid"),
        (b"[" * 100_000, 0, "not valid"),
        (b'{"a":' * 5000, 0, "not valid"),
        (b'{"a":NaN}', 0, "NaN"),
        (b'{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}', 4, "twice"),
        (b'{"a":%s,"a":%s}' % ((json.dumps(F32).encode(),) * 2), 4, "twice"),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', 4, "not valid"),
        ({"a": 1}, 0, "must hold dtype"),
        ({"a": {"dtype": "F32", "shape": [1]}}, 4, "must hold dtype"),
        ({"a": {**F32, "extra": 1}}, 4, "must hold dtype"),
        ({"a": {**F32, "dtype": "F4"}}, 4, "not one of"),
        ({"a": {**F32, "dtype": ["F32"]}}, 4, "not one of"),
        ({"a": {**F32, "shape": [-1]}}, 4, "sizes"),
        ({"a": {**F32, "shape": [1.0]}}, 4, "sizes"),
        ({"a": {**F32, "shape": [True]}}, 4, "sizes"),
        ({"a": {**F32, "shape": "1"}}, 4, "sizes"),
        ({"a": {**F32, "shape": [1] * 65}}, 4, "at most 64"),
        ({"a": {**F32, "shape": [2**62, 4]}}, 4, "takes"),
        ({"a": {**F32, "shape": [2**32, 2**32]}}, 4, "takes"),
        ({"a": {**F32, "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}, 0, "not possible"),
        ({"a": {**F32, "data_offsets": [4, 0]}}, 4, "begin and an end"),
        ({"a": {**F32, "data_offsets": [0, 4, 8]}}, 4, "begin and an end"),
        ({"a": {**F32, "data_offsets": [0, "4"]}}, 4, "begin and an end"),
        ({"a": {**F32, "data_offsets": [0, 2**70]}}, 4, "begin and an end"),
        ({"a": F32, "b": F32}, 4, "overlap"),
        ({"a": F32, "b": {**F32, "data_offsets": [8, 12]}}, 12, "gap"),
        ({"a": {**F32, "data_offsets": [4, 8]}}, 8, "gap"),
        ({"a": F32}, 3, "truncated"),
        ({"a": F32}, 5, "appended"),
        ({"__metadata__": {"a": 1}}, 0, "text"),
        ({"__metadata__": []}, 0, "text"),
        ({"__metadata__": {"chainrule.version": "1"}}, 0, "checksum"),
        ({"__metadata__": {"chainrule.header": "\ud800"}}, 0, "checksum"),
        ({"a": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]}}, 4, "neither 0 nor 1"),
    ],
)
def test_hostile_headers(header, size, reason):
    with pytest.raises(CheckpointError, match=reason):
        from_bytes(container(header, b"\2" * size))


def test_header_length_limits():
    with pytest.raises(CheckpointError, match="at most 100,000,000"):
        from_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(CheckpointError, match="truncated or no checkpoint"):
        from_bytes(struct.pack("<Q", 10_000) + b"{}")
    many = {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(100_001)}
    with pytest.raises(CheckpointError, match="at most 100,000 are"):
        from_bytes(container(many))


@pytest.mark.parametrize(
    "structure",
    [
        "",
        "{",
        "{}",
        '{"tensor":"none"}',
        '{"tensor":3}',
        '{"tensor":["x","tpu"]}',
        '{"tensor":["x"]}',
        '{"tensor":[["x"],"cpu"]}',
        '{"array":"none"}',
        '{"array":["x"]}',
        '{"unknown":1}',
        '{"dict":[[1]]}',
        '{"dict":[[[],1]]}',
        '{"dict":3}',
        '{"tuple":3}',
        '{"int":"zz"}',
        '{"int":3}',
        '{"float":"x"}',
        '{"float":[]}',
        '{"complex":"1j"}',
        '{"bytes":"0"}',
        '{"dtype":"float13"}',
        '{"dtype":"object"}',
        '{"device":"tpu"}',
        '{"tensor":"x","array":"x"}',
        "[" * 5000,
        '{"tuple":[' * 450 + "]}" * 450,
    ],
)
def test_hostile_structures(structure):
    """Files with right checksums whose structure makes no sense."""
    arrays = {"x": np.zeros(1)}
    metadata = {"chainrule.version": "1", "chainrule.complex128": "[]", "chainrule.structure": structure}
    data = b"".join(map(bytes, _safetensors.pieces(arrays, metadata)))
    with pytest.raises(CheckpointError, match="structure|device"):
        from_bytes(data)


@pytest.mark.parametrize("names", ["", "3", '["none"]', '["x"]', "[[]]"])
def test_hostile_complex_names(names):
    metadata = {"chainrule.version": "1", "chainrule.complex128": names, "chainrule.structure": "1"}
    data = b"".join(map(bytes, _safetensors.pieces({"x": np.zeros(1)}, metadata)))
    with pytest.raises(CheckpointError, match="structure"):
        from_bytes(data)


def fuzz(rng, sound):
    """A file made of a sound one by edits that keep it looking like one."""
    length = int.from_bytes(sound[:8], "little")
    header, data = sound[8 : 8 + length].rstrip().decode(), sound[8 + length :]
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(4)
        if kind == 0:  # another number
            numbers = list(re.finditer(r"(?<![\w.])-?\d+", header))
            one = rng.choice(numbers)
            value = rng.choice(
                [0, 1, -1, 3, 255, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, 1.5, "true", "null", '"1"']
            )
            header = header[: one.start()] + str(value) + header[one.end() :]
        elif kind == 1:  # a piece removed or doubled
            start = rng.randrange(len(header))
            stop = start + rng.randint(1, 40)
            header = header[:start] + header[start:stop] * rng.choice([0, 2]) + header[stop:]
        elif kind == 2:  # another character
            place = rng.randrange(len(header))
            header = header[:place] + rng.choice('{}[]",:\\0aF\0\xff') + header[place + 1 :]
        else:  # data of another length
            data = data[: rng.randrange(len(data) + 1)] + rng.randbytes(rng.randrange(3))
    return container(header.encode(), data)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_fuzzed_headers(sound, count):
    rng = random.Random(count)
    plain = container({"a": F32, "b": {"dtype": "I16", "shape": [2, 2], "data_offsets": [4, 12]}}, b"\1" * 12)
    outcomes, slowest = set(), 0.0
    for number in range(count):
        data = fuzz(rng, sound if number % 2 else plain)
        begin = time.process_time()
        try:
            from_bytes(data)
            outcomes.add("loaded")  # an edit may leave a file of other origin sound
        except CheckpointError:
            outcomes.add("refused")
        slowest = max(slowest, time.process_time() - begin)
    print(f"{count} headers, the slowest in {1000 * slowest:.1f} ms")
    assert "refused" in outcomes and slowest < 0.5


# --- nothing runs ---


@pytest.mark.cpu_only
def test_loading_runs_no_code(tmp_path, environment):
    save(example() | {"device": None}, tmp_path / "a.ckpt")
    script = f"""
import sys
import chainrule.io as io
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
io.load({str(tmp_path / "a.ckpt")!r})
bad = [event for event in seen if event.startswith(("pickle", "exec", "compile", "os.system", "subprocess", "ctypes"))]
assert not bad, bad
assert "open" in seen
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True, env=environment)


def test_no_pickle_in_the_module():
    for module in (cr.io, _safetensors):
        assert not re.search(r"import.*pickle", Path(module.__file__).read_text())


# --- writing ---


def test_mode_bits_are_kept(tmp_path):
    path = tmp_path / "a"
    save([1], path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    save([2], path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and load(path) == [2]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a", tmp_path / "link"
    save([1], target)
    link.symlink_to(target)
    save([2], link)
    assert link.is_symlink() and load(target) == [2]


def test_only_files_are_replaced(tmp_path):
    with pytest.raises(OSError, match="not a file that can be replaced"):
        save([1], tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a file that can be replaced"):
        save([1], tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        save([1], tmp_path / "none" / "a")


def test_paths_of_all_kinds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("a", b"a", Path("a"), os.fsencode(tmp_path / "a")):
        save([str(path)], path)
        assert load(path) == [str(path)]


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, stage):
    path = tmp_path / "a"
    save({"x": cr.ones(3)}, path)
    before = path.read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if stage == "write":
            patch.setattr(_atomic, "open", Failing, raising=False)
        else:
            patch.setattr(_atomic.os, stage, fail)
        save({"x": cr.zeros(3)}, path)
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["a"]


class Failing:
    """A file whose second write is interrupted."""

    def __init__(self, path, mode):
        self.file, self.writes = open(path, mode), 0  # noqa: SIM115

    def write(self, data):
        self.writes += 1
        if self.writes == 2:
            raise KeyboardInterrupt
        return self.file.write(data)

    def fileno(self):
        return self.file.fileno()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def test_a_full_disk(tmp_path):
    """RLIMIT_FSIZE makes writes fail as a full disk does."""
    path = tmp_path / "a"
    save({"x": np.zeros(10)}, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError):
            save({"x": np.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["a"]


def leftovers(folder):
    return [one.name for one in folder.iterdir() if one.name.startswith(".chainrule-")]


def test_leftovers_of_the_dead_are_removed(tmp_path, environment):
    """A process that is killed in the middle of a save leaves its temporary file to the next who saves."""
    script = f"""
import os, chainrule as cr
from chainrule import _atomic
_atomic.os.replace = lambda *names: os.kill(os.getpid(), 9)
cr.save([1], {str(tmp_path / "a")!r})
"""
    for _ in range(2):
        subprocess.run([sys.executable, "-P", "-c", script], env=environment)
        assert len(leftovers(tmp_path)) == 1  # the second process has removed what the first left
    (tmp_path / "a.tmp").write_text("not ours")
    save([2], tmp_path / "a")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "a.tmp"]


def test_a_file_that_is_being_written_is_no_leftover(tmp_path):
    file, path = _atomic._temporary(str(tmp_path))
    with file:
        save([1], tmp_path / "a")
        assert leftovers(tmp_path) == [os.path.basename(path)]
    save([1], tmp_path / "a")
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_without_locks_nothing_is_removed(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("fcntl.flock", fail)
    (tmp_path / ".chainrule-1.tmp").write_text("perhaps in use")
    save([1], tmp_path / "a")
    assert load(tmp_path / "a") == [1] and leftovers(tmp_path) == [".chainrule-1.tmp"]


# One process imports the library; its children, forked one after the other, save until they are killed.
SAVER = """
import os, sys, numpy as np
from chainrule.io import load, save
path = sys.argv[1]
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        n = load(path)["n"]
        os.write(1, b"%d\\n" % os.getpid())
        while True:
            n += 1
            save({"n": n, "x": np.full(50_000, float(n)), "y": np.full(7, n)}, path)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


@pytest.mark.slow
def test_kill_at_any_moment_leaves_a_whole_file(tmp_path, environment):
    """Processes that save all the time are killed at 500 random moments: the old or the new file is there, whole."""
    path = tmp_path / "a"
    save({"n": 0, "x": np.zeros(50_000), "y": np.zeros(7, int)}, path)
    rng, last, unfinished = random.Random(0), 0, 0
    with subprocess.Popen(
        [sys.executable, "-P", "-c", SAVER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**environment, "OPENBLAS_NUM_THREADS": "1"}, text=True,
    ) as saver:  # fmt: skip
        for _ in range(500):
            saver.stdin.write("go\n")
            saver.stdin.flush()
            child = int(saver.stdout.readline())
            time.sleep(rng.random() * 0.02)
            os.kill(child, signal.SIGKILL)
            assert saver.stdout.readline() == "gone\n"
            found = load(path)
            assert (
                (found["x"] == found["n"]).all() and (found["y"] == found["n"]).all() and found["n"] >= last
            )
            last = found["n"]
            left = leftovers(tmp_path)
            assert len(left) <= 1  # the next save removes it
            unfinished += len(left)
        saver.stdin.close()
    print(f"500 kills during {last} saves, {unfinished} of them in the middle of one")
    assert last > 500 and unfinished > 50
