"""Readers of image sets, on small files written here, and the transforms of images and labels."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

import chainrule as cr
from chainrule import datasets, transforms
from chainrule.datasets import (
    CIFAR10,
    CIFAR100,
    KMNIST,
    MNIST,
    DatasetError,
    FashionMNIST,
    read_cifar,
    read_idx,
)
from chainrule.utils.data import DataLoader

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array):
    """An array as an IDX file."""
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[array.dtype.str[1:]], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, count=6, name="MNIST", pack=gzip.compress):
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    images = np.arange(count * 784).reshape(count, 28, 28).astype("u1")
    labels = (np.arange(count) % 10).astype("u1")
    for stem in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            data, suffix = (pack(idx(array)), ".gz") if pack else (idx(array), "")
            (raw / f"{stem}-{kind}-ubyte{suffix}").write_bytes(data)
    return images, labels


# --- IDX ---


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 5)])
def test_idx_arrays(tmp_path, kind, shape):
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) * 3).astype(kind)
    for data in (idx(array), gzip.compress(idx(array))):
        (tmp_path / "a").write_bytes(data)
        found = read_idx(tmp_path / "a")
        assert found.dtype == np.dtype(kind) and found.shape == shape and (found == array).all()
        assert found.flags.writeable


def test_every_truncation_of_an_idx_file_is_refused(tmp_path):
    sound = idx(np.arange(12, dtype="i2").reshape(3, 4))
    for data in (sound, gzip.compress(sound)):
        for length in range(len(data)):
            (tmp_path / "a").write_bytes(data[:length])
            with pytest.raises(DatasetError, match="a: "):
                read_idx(tmp_path / "a")
    (tmp_path / "a").write_bytes(sound + b"\0")
    with pytest.raises(DatasetError, match="holds more bytes"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0\x07\1\0\0\0\0", "no IDX file"),
        (b"PNG\r\n\0\0\0", "no IDX file"),
        (b"\0\0\x08\3" + b"\xff" * 12, "claims"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 3, "within its header"),
    ],
)
def test_other_files_are_refused(tmp_path, data, reason):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DatasetError, match=reason):
        read_idx(tmp_path / "a")


def test_a_damaged_gzip_file_is_refused(tmp_path):
    data = bytearray(gzip.compress(idx(np.arange(500, dtype="i4"))))
    data[-6] ^= 1  # its checksum
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DatasetError, match="cannot be unpacked.*fetch it again"):
        read_idx(tmp_path / "a")


# --- data sets ---


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, KMNIST])
@pytest.mark.parametrize("pack", [gzip.compress, None])
def test_mnist_and_its_family(tmp_path, kind, pack):
    images, labels = write_mnist(tmp_path, name=kind.__name__, pack=pack)
    for train in (True, False):
        data = kind(tmp_path, train=train)
        assert len(data) == 6 and data.data.dtype == cr.uint8 and data.targets.dtype == cr.int64
        assert (data.data.numpy() == images).all() and data.targets.tolist() == labels.tolist()
    image, label = data[3]
    assert (image == images[3]).all() and label == 3 and type(label) is int
    assert (
        len(kind.classes) == 10
        and data.class_to_idx[kind.classes[4]] == 4
        and len(set(kind.md5.values())) == 4
    )
    assert "6 samples" in repr(data)


def test_mnist_lies_in_the_root_itself_too(tmp_path):
    images, labels = write_mnist(tmp_path)
    for file in (tmp_path / "MNIST" / "raw").iterdir():
        file.rename(tmp_path / file.name)
    assert len(MNIST(str(tmp_path))) == 6


def test_transforms_and_loader(tmp_path):
    images, _ = write_mnist(tmp_path)
    data = MNIST(tmp_path, transform=transforms.ToTensor(), target_transform=transforms.OneHot(10))
    x, y = next(iter(DataLoader(data, batch_size=4)))
    assert x.shape == (4, 1, 28, 28) and x.dtype == cr.float32 and y.shape == (4, 10)
    assert np.array_equal(x[:, 0].numpy(), images[:4] / np.float32(255)) and y.argmax(1).tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_missing_and_damaged_sets(tmp_path):
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte: there is no such file.*download=True"):
        MNIST(tmp_path)
    write_mnist(tmp_path, pack=None)
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.arange(5, dtype="u1")))
    with pytest.raises(DatasetError, match="does not fit 6 images"):
        MNIST(tmp_path)
    labels.write_bytes(idx(np.array([1, 2, 3, 10, 1, 1], "u1")))
    with pytest.raises(DatasetError, match="label 10 of sample 3"):
        MNIST(tmp_path)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((6, 4), "u1")))
    with pytest.raises(DatasetError, match="no images of bytes") as caught:
        MNIST(tmp_path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def cifar_files(labels, count=4):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), "u1")
    numbers = np.stack([np.arange(count, dtype="u1") + place for place in range(labels)], 1)
    records = np.concatenate([numbers, images.transpose(0, 3, 1, 2).reshape(count, -1)], 1)
    return images, numbers, records.tobytes()


@pytest.mark.parametrize(("kind", "labels"), [(CIFAR10, 1), (CIFAR100, 2)])
def test_cifar(tmp_path, kind, labels):
    images, numbers, data = cifar_files(labels)
    folder = tmp_path / kind.folder
    folder.mkdir()
    for name in (*kind.files[True], *kind.files[False]):
        (folder / name).write_bytes(data)
    test, train = kind(tmp_path, train=False), kind(tmp_path)
    assert len(test) == 4 and len(train) == 4 * len(kind.files[True])
    assert (test.data == images).all() and test.targets == numbers[:, -1].tolist()
    image, label = train[1]
    assert image.shape == (32, 32, 3) and (image == images[1]).all() and label == numbers[1, -1]
    assert len(set(kind.classes)) == int(kind.__name__[5:])
    (folder / kind.files[False][0]).write_bytes(data[:-1])
    with pytest.raises(DatasetError, match="not a multiple"):
        kind(tmp_path, train=False)
    (folder / kind.files[False][0]).write_bytes(b"\xfa" + data[1:] if labels == 1 else b"\0\xfa" + data[2:])
    with pytest.raises(DatasetError, match="label 250 of sample 0"):
        kind(tmp_path, train=False)
    (folder / kind.files[False][0]).write_bytes(b"")
    with pytest.raises(DatasetError, match="0 bytes"):
        read_cifar(folder / kind.files[False][0], labels)


# --- fetching: from a folder, by file: URLs ---


def md5(data):
    return hashlib.md5(data).hexdigest()


def test_mnist_is_fetched_when_asked(tmp_path, monkeypatch):
    write_mnist(tmp_path / "there")
    raw = tmp_path / "there" / "MNIST" / "raw"
    sums = {file.name: md5(file.read_bytes()) for file in raw.iterdir()}
    monkeypatch.setattr(MNIST, "mirrors", ((tmp_path / "none").as_uri() + "/", raw.as_uri() + "/"))
    monkeypatch.setattr(MNIST, "md5", sums)
    here = tmp_path / "here"
    assert len(MNIST(here, download=True)) == 6
    assert {one.name for one in (here / "MNIST" / "raw").iterdir()} == set(sums)
    monkeypatch.setattr(datasets, "fetch", None)  # it is there: nothing is fetched again
    assert len(MNIST(here, train=False, download=True)) == 6


def test_a_wrong_checksum_leaves_nothing(tmp_path, monkeypatch):
    write_mnist(tmp_path / "there")
    monkeypatch.setattr(MNIST, "mirrors", ((tmp_path / "there" / "MNIST" / "raw").as_uri() + "/",))
    with pytest.raises(DatasetError, match="its checksum is [0-9a-f]{32}, not f68b3c.*by hand"):
        MNIST(tmp_path / "here", download=True)
    assert not list((tmp_path / "here").rglob("*"))


def test_cifar_is_fetched_and_unpacked(tmp_path, monkeypatch):
    _, _, data = cifar_files(1)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in (*CIFAR10.files[True], *CIFAR10.files[False], "../outside.bin", "batches.meta.txt"):
            member = tarfile.TarInfo(f"{CIFAR10.folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(packed.getvalue())
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "cifar-10-binary.tar.gz").as_uri())
    monkeypatch.setattr(CIFAR10, "archive_md5", md5(packed.getvalue()))
    assert len(CIFAR10(tmp_path / "here", download=True)) == 20
    names = {one.name for one in (tmp_path / "here" / CIFAR10.folder).iterdir()}
    assert names == {*CIFAR10.files[True], *CIFAR10.files[False]}
    assert not list((tmp_path / "here").rglob("outside*"))


def test_progress_on_a_terminal(tmp_path, monkeypatch, capsys):
    (tmp_path / "a").write_bytes(b"x" * 1000)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    datasets.fetch([(tmp_path / "a").as_uri()], tmp_path / "b", md5(b"x" * 1000))
    assert "b [##############################] 0.0 MB" in capsys.readouterr().err


# --- transforms ---


def kept(transform, device="cpu", shape=(4, 3, 6, 5), seed=3):
    """What a transform makes of a Tensor and of an array, which must agree."""
    x = cr.rand(shape)
    cr.manual_seed(seed)
    of_tensor = transform(x.to(device))
    cr.manual_seed(seed)
    of_array = transform(x.numpy())
    assert (
        isinstance(of_tensor, cr.Tensor) and of_tensor.device.type == device and type(of_array) is np.ndarray
    )
    np.testing.assert_allclose(of_tensor.cpu().numpy(), of_array, rtol=1e-6)
    assert of_tensor.dtype == cr.float32 and of_array.dtype == np.float32
    return x.numpy(), of_array


@pytest.mark.cpu_only
def test_to_tensor():
    picture = np.arange(24, dtype="u1").reshape(2, 4, 3)
    made = transforms.ToTensor()(picture)
    assert made.shape == (3, 2, 4) and made.dtype == cr.float32
    np.testing.assert_array_equal(made.numpy(), picture.transpose(2, 0, 1) / np.float32(255))
    assert transforms.ToTensor()(cr.zeros(5, 4)).shape == (1, 5, 4)
    assert transforms.ToTensor()(np.zeros((7, 2, 4, 3))).shape == (7, 3, 2, 4)
    assert transforms.ToTensor()(np.full((1, 1), 300, "i4")).item() == 300
    with pytest.raises(ValueError, match=r"\(3,\)"):
        transforms.ToTensor()(np.zeros(3))


def test_normalize(device):
    x, made = kept(transforms.Normalize((0.1, 0.2, 0.3), (1, 2, 4)), device)
    mean, std = np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1), np.array([1, 2, 4]).reshape(3, 1, 1)
    np.testing.assert_allclose(made, (x - mean) / std, rtol=1e-5, atol=1e-6)
    kept(transforms.Normalize(0.5, 0.5), device)
    with pytest.raises(ValueError, match="positive"):
        transforms.Normalize(0.5, [1, 0])
    with pytest.raises(TypeError, match="ToTensor"):
        transforms.Normalize(0.5, 1)(np.zeros((1, 2, 2), "u1"))


def test_standardize(device):
    train = cr.randn(200, 3) * cr.tensor([1.0, 5.0, 0.0]) + cr.tensor([2.0, -1.0, 7.0])
    scale = transforms.Standardize().fit(train)
    made = scale(train.to(device)).cpu().numpy()
    np.testing.assert_allclose(made.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(made.std(0), [1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(scale.inverse(scale(train)).numpy(), train.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scale(train[3]).numpy(), made[3], rtol=1e-5, atol=1e-6)  # one sample
    test = cr.ones(2, 3)
    np.testing.assert_allclose(scale(test).numpy(), scale(test.numpy()), rtol=1e-6)
    images = cr.rand(10, 3, 4, 4)
    each = transforms.Standardize(dim=(0, 2, 3)).fit(images)
    np.testing.assert_allclose(each(images).numpy().mean((0, 2, 3)), 0, atol=1e-5)
    with pytest.raises(RuntimeError, match="call fit"):
        transforms.Standardize()(test)
    with pytest.raises(ValueError, match="empty"):
        transforms.Standardize().fit(np.zeros((0, 3)))


def test_flip(device):
    x, made = kept(transforms.RandomHorizontalFlip(), device, (64, 1, 2, 3))
    same = (made == x).all((1, 2, 3))
    mirrored = (made == x[..., ::-1]).all((1, 2, 3))
    assert (same | mirrored).all() and 16 < same.sum() < 48
    x, made = kept(transforms.RandomHorizontalFlip(p=1.0), device, (2, 3, 4))
    assert (made == x[..., ::-1]).all()
    x, made = kept(transforms.RandomHorizontalFlip(p=0.0), device)
    assert (made == x).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        transforms.RandomHorizontalFlip(2)
    with pytest.raises(ValueError, match="ToTensor"):
        transforms.RandomHorizontalFlip()(np.zeros((2, 2)))


def test_crop_and_shift(device):
    x, made = kept(transforms.RandomCrop((4, 3), padding=1, fill=9.0), device, (50, 2, 6, 5))
    assert made.shape == (50, 2, 4, 3)
    framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=9.0)
    places = set()
    for image, source in zip(made, framed, strict=True):
        found = [
            (r, c) for r in range(5) for c in range(5) if (source[:, r : r + 4, c : c + 3] == image).all()
        ]
        assert found
        places.add(found[0])
    assert len(places) > 10
    x, made = kept(transforms.RandomShift(2), device, (30, 1, 6, 5))
    assert made.shape == x.shape and (made == 0).any() and not (made == x).all()
    assert all(set(np.unique(a)) <= {0, *np.unique(b)} for a, b in zip(made, x, strict=True))
    x, made = kept(transforms.RandomCrop(6), device, (3, 6, 6))
    assert (made == x).all()
    with pytest.raises(ValueError, match=r"\(7, 7\) does not fit into 6 x 5"):
        transforms.RandomCrop(7)(cr.zeros(1, 6, 5))


def test_noise(device):
    x, made = kept(transforms.GaussianNoise(0.5, mean=1.0), device, (10, 3, 20, 20))
    noise = made - x
    assert abs(noise.mean() - 1) < 0.05 and abs(noise.std() - 0.5) < 0.02
    with pytest.raises(ValueError, match="negative"):
        transforms.GaussianNoise(-1)
    with pytest.raises(TypeError, match="floating"):
        transforms.GaussianNoise()(np.zeros((1, 2, 2), "u1"))


def test_one_hot(device):
    made = transforms.OneHot(4)(cr.tensor([[0, 3]], device=device))
    assert made.tolist() == [[[1, 0, 0, 0], [0, 0, 0, 1]]] and made.dtype == cr.float32
    assert made.device.type == device
    assert transforms.OneHot(3)(2).tolist() == [0, 0, 1]
    for wrong in (3, -1, 1.0, cr.tensor([0, 5])):
        with pytest.raises(ValueError, match="from 0 to 2"):
            transforms.OneHot(3)(wrong)


def test_transforms_are_the_same_for_every_number_of_workers(tmp_path):
    write_mnist(tmp_path, count=12)
    steps = [transforms.ToTensor(), transforms.RandomShift(2), transforms.GaussianNoise(0.1)]
    data = MNIST(tmp_path, transform=transforms.Compose(steps))
    results = []
    for workers in (0, 2):
        cr.manual_seed(1)
        results.append([x.numpy() for x, _ in DataLoader(data, 4, shuffle=True, num_workers=workers)])
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))
    assert "RandomShift(pixels=2, fill=0)" in repr(data.transform)


def test_lambda():
    assert transforms.Compose([transforms.Lambda(lambda x: x + 1), transforms.Lambda(float)])(2) == 3.0
