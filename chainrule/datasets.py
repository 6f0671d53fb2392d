"""Readers of the classic image sets: IDX files (MNIST and its family) and CIFAR's binary files, none of which hold code.

A data set is read from `root`; nothing is fetched unless `download=True` asks for it, and then the file must have the
checksum that its authors publish. The names and arguments are those of torchvision's data sets.
"""

import contextlib
import gzip
import hashlib
import os
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np

from chainrule.autograd.functions.creation import from_numpy

from ._atomic import replace
from .utils.data.dataset import Dataset

__all__ = ["CIFAR10", "CIFAR100", "KMNIST", "MNIST", "DatasetError", "FashionMNIST", "read_cifar", "read_idx"]


class DatasetError(RuntimeError):
    """A file of a data set that is missing, damaged or not what it should be: `file` and `reason`."""

    def __init__(self, file, reason):
        super().__init__(f"{file}: {reason}")
        self.file, self.reason = file, reason

    def __reduce__(self):
        return DatasetError, (self.file, self.reason)


# --- formats ---

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_BYTES = 1 << 32


def read_idx(path):
    """The array in an IDX file, gzipped or not.

    Two zero bytes, the type, the number of dimensions; each dimension as a big-endian 32-bit number; the elements.
    """
    path = os.fspath(path)
    with _reading(path) as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES:
            raise DatasetError(path, "this is no IDX file: its first bytes are not two zeros and a type")
        dtype, raw = np.dtype(_IDX_TYPES[magic[2]]), file.read(4 * magic[3])
        if len(raw) < 4 * magic[3]:
            raise DatasetError(path, "the file ends within its header")
        shape = [int(one) for one in np.frombuffer(raw, ">u4")]
        size = dtype.itemsize
        for one in shape:
            size *= one
        if size > _MAX_BYTES:
            raise DatasetError(
                path, f"its header claims {size:,} bytes, more than the {_MAX_BYTES:,} accepted"
            )
        data = file.read(size + 1)
        if len(data) != size:
            raise DatasetError(
                path,
                f"it holds {'more' if len(data) > size else len(data)} bytes where shape {shape} of {dtype.name} takes "
                f"{size}: it is damaged; fetch it again",
            )
    return np.frombuffer(bytearray(data), dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def read_cifar(path, labels=1):
    """(images, labels) of a CIFAR file: uint8 of shapes (N, 32, 32, 3) and (N, labels).

    Records of `labels` bytes and 3 x 32 x 32 pixels, colour by colour. CIFAR-100 has two labels, the coarse one first.
    """
    path, record = os.fspath(path), labels + 3 * 32 * 32
    with _reading(path) as file:
        data = file.read(_MAX_BYTES)
    if not data or len(data) % record:
        raise DatasetError(
            path,
            f"it has {len(data):,} bytes, not a multiple of {record}: it is truncated, or no CIFAR binary file",
        )
    table = np.frombuffer(bytearray(data), np.uint8).reshape(-1, record)
    images = table[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), table[:, :labels].copy()


@contextlib.contextmanager
def _reading(path):
    """An open file, unpacked on the way if it is gzipped."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield gzip.GzipFile(fileobj=file) if packed else file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(path, f"it cannot be unpacked ({error}): it is damaged; fetch it again") from None


# --- data sets ---


class _Images(Dataset):
    """`data`, `targets` and `classes`; sample i is (image, label), each sent through its transform."""

    classes = ()

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        self.root, self.train = os.path.expanduser(os.fspath(root)), train
        self.transform, self.target_transform = transform, target_transform
        if download:
            self._download()
        self._load()

    @property
    def class_to_idx(self):
        """The number of each class by its name."""
        return {name: number for number, name in enumerate(self.classes)}

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, label = self._sample(index)
        image = image if self.transform is None else self.transform(image)
        return image, (label if self.target_transform is None else self.target_transform(label))

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} samples, root={self.root!r}, train={self.train})"

    def _find(self, folders, names):
        """The first of the files that is there."""
        for folder in folders:
            for name in names:
                path = os.path.join(self.root, folder, name)
                if os.path.isfile(path):
                    return path
        raise DatasetError(
            os.path.join(self.root, folders[0], names[0]),
            "there is no such file; put it there, or pass download=True to fetch it",
        )

    def _check(self, path, labels):
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if wrong.size:
            raise DatasetError(
                path,
                f"label {labels[wrong[0]]} of sample {wrong[0]} is none of {len(self.classes)}: it is damaged",
            )


class MNIST(_Images):
    """70,000 handwritten digits, 28 x 28, 10 classes (LeCun, Cortes and Burges).

    root: a folder with `MNIST/raw/train-images-idx3-ubyte` and its three companions, gzipped or not; they may also lie in
    `root` itself. `data` is a uint8 Tensor (N, 28, 28), `targets` an int64 Tensor (N). A sample is the image as a uint8
    array (28, 28), or what `transform` makes of it, and the label. DatasetError for a missing or damaged file.
    """

    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
    classes = tuple("zero one two three four five six seven eight nine".split())
    md5 = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }

    @property
    def _folder(self):
        return os.path.join(type(self).__name__, "raw")

    def _load(self):
        stem = "train" if self.train else "t10k"
        paths, arrays = [], []
        for name in (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"):
            paths.append(self._find([self._folder, type(self).__name__, ""], [name, f"{name}.gz"]))
            arrays.append(read_idx(paths[-1]))
        images, labels = arrays
        if images.ndim != 3 or images.dtype != np.uint8:
            raise DatasetError(
                paths[0], f"it holds {images.dtype} of shape {images.shape}, no images of bytes"
            )
        if labels.ndim != 1 or len(labels) != len(images):
            raise DatasetError(paths[1], f"its shape {labels.shape} does not fit {len(images)} images")
        self._check(paths[1], labels)
        self.data, self.targets = from_numpy(images), from_numpy(labels.astype(np.int64))

    def _sample(self, index):
        return self.data.numpy()[index], int(self.targets.numpy()[index])

    def _download(self):
        for name, md5 in self.md5.items():
            place = Path(self.root) / self._folder / name
            if not place.exists() and not place.with_suffix("").exists():
                fetch([mirror + name for mirror in self.mirrors], place, md5)


class FashionMNIST(MNIST):
    """70,000 articles of clothing in MNIST's form (Xiao, Rasul and Vollgraf 2017)."""

    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    md5 = dict(
        zip(
            MNIST.md5,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            strict=True,
        )
    )


class KMNIST(MNIST):
    """70,000 cursive Japanese characters in MNIST's form (Clanuwat et al. 2018)."""

    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    md5 = dict(
        zip(
            MNIST.md5,
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
            strict=True,
        )
    )


class CIFAR10(_Images):
    """60,000 colour photographs, 32 x 32, 10 classes (Krizhevsky 2009), from the binary version.

    root: a folder with `cifar-10-batches-bin/data_batch_1.bin` and so on; they may also lie in `root` itself. `data` is a
    uint8 array (N, 32, 32, 3), `targets` a list. A sample is the image as a uint8 array (32, 32, 3), or what `transform`
    makes of it, and the label. DatasetError for a missing or damaged file.
    """

    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    archive_md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    folder = "cifar-10-batches-bin"
    files = {True: tuple(f"data_batch_{number}.bin" for number in range(1, 6)), False: ("test_batch.bin",)}
    classes = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
    _labels = 1

    def _load(self):
        images, labels = [], []
        for name in self.files[self.train]:
            path = self._find([self.folder, ""], [name, f"{name}.gz"])
            pictures, numbers = read_cifar(path, self._labels)
            self._check(path, numbers[:, -1])
            images.append(pictures)
            labels.append(numbers[:, -1])
        self.data, self.targets = np.concatenate(images), np.concatenate(labels).tolist()

    def _sample(self, index):
        return self.data[index], self.targets[index]

    def _download(self):
        folder = Path(self.root) / self.folder
        wanted = {name for names in self.files.values() for name in names}
        if all((folder / name).exists() for name in wanted):
            return
        archive = Path(self.root) / self.url.rpartition("/")[2]
        if not archive.exists() or _md5(archive) != self.archive_md5:
            fetch([self.url], archive, self.archive_md5)
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as packed:
            for member in packed:
                name = member.name.rpartition("/")[2]
                if name in wanted and member.isfile():
                    replace(str(folder / name), [packed.extractfile(member).read()])


class CIFAR100(CIFAR10):
    """60,000 colour photographs, 32 x 32, 100 classes (the fine labels), otherwise as `CIFAR10`."""

    url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    archive_md5 = "03b5dce01913d631647c71ecec9e9cb8"
    folder = "cifar-100-binary"
    files = {True: ("train.bin",), False: ("test.bin",)}
    classes = tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
        caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
        forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
        mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
        possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
        sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
        willow_tree wolf woman worm""".split()
    )
    _labels = 2


# --- fetching ---


def fetch(urls, path, md5):
    """Fetch the first of `urls` that answers to `path`; DatasetError unless it has the checksum `md5`. Shows how far it is."""
    import urllib.error
    import urllib.request

    faults = []
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=60) as source:
                data = b"".join(_with_bar(source, Path(path).name))
        except (urllib.error.URLError, OSError) as error:
            faults.append(f"{url}: {error}")
            continue
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if found == md5:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            replace(str(path), [data])
            return
        faults.append(f"{url}: its checksum is {found}, not {md5}")
    raise DatasetError(path, f"it could not be fetched ({'; '.join(faults)}); put it there by hand")


def _with_bar(source, name):
    """The pieces of an answer, with a line on a terminal that says how many bytes have come."""
    total, done, shown = int(source.headers.get("Content-Length") or 0), 0, sys.stderr.isatty()
    while piece := source.read(1 << 18):
        done += len(piece)
        if shown:
            share = done / total if total else 0
            bar = f"[{'#' * int(30 * share):30}] " if total else ""
            print(f"\r{name} {bar}{done / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)
        yield piece
    if shown:
        print(file=sys.stderr)


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
