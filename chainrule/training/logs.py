"""Where the numbers of a run are written as it goes on: plain lines of JSON, or TensorBoard's event files."""

import importlib
import json
import math
import os
from pathlib import Path

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Log:
    """A file of JSON lines to which rows are added.

        log = Log("run.jsonl")
        log(step=10, loss=0.7)
        cr.fit(..., callbacks=[log])
        rows = log.read()

    Each row is one write to the end of the file, so that several processes may share it, and what was written survives a
    crash of this one. A line cut short by a crash is left out when the file is read, and a new row begins on a new line. Values are
    numbers, Tensors, text, None, lists and dicts; NaN and infinities are kept as "NaN", "Infinity" and "-Infinity".
    """

    def __init__(self, path):
        self.path = Path(os.fsdecode(path))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def __call__(self, row=None, **values):
        """Add one row: a dict, or values by name."""
        line = json.dumps(_plain({**(row or {}), **values}), ensure_ascii=False, allow_nan=False) + "\n"
        with open(self.path, "ab", buffering=0) as file:
            file.write(line.encode())

    def read(self):
        """All rows, a list of dicts."""
        rows = []
        for line in self.path.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut short
                continue
            if isinstance(row, dict):
                rows.append(_numbers(row))
        return rows


def _plain(value):
    """A value as JSON can hold it."""
    if hasattr(value, "tolist"):  # a Tensor, an array, a NumPy number
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"Log: cannot write a {type(value).__name__}; give numbers, Tensors, text, None, lists or dicts"
    )


def _numbers(value):
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return _WORDS.get(value, value) if isinstance(value, str) else value


class TensorBoardWriter:
    """Writes event files for TensorBoard into `folder`, by tensorboardX (`pip install "chainrule[log]"`).

    Called with the dict of an epoch, as a callback of `fit`, it adds every number in it. What else `tensorboardX.SummaryWriter`
    offers is reached by its name: `writer.add_image(...)`. Usable in a `with` block.
    """

    def __init__(self, folder, **options):
        try:
            tensorboardX = importlib.import_module("tensorboardX")
        except ImportError:
            raise ImportError(
                'TensorBoardWriter: tensorboardX is not installed: pip install "chainrule[log]"; '
                "chainrule.training.Log needs nothing"
            ) from None
        self.writer = tensorboardX.SummaryWriter(os.fsdecode(folder), **options)

    def __call__(self, row, step=None):
        """Add the numbers of a row at `step`, by default its entry "epoch" or "step"."""
        step = next((row[name] for name in ("epoch", "step") if name in row), None) if step is None else step
        for name, value in row.items():
            if name not in ("epoch", "step") and isinstance(value, (int, float)):
                self.add_scalar(name, value, step)
        self.writer.flush()

    def add_scalar(self, name, value, step=None):
        """One number of a curve."""
        self.writer.add_scalar(name, float(value), step)

    def add_histogram(self, name, values, step=None):
        """The distribution of a Tensor's elements."""
        if hasattr(values, "detach"):
            values = values.detach().cpu().numpy()
        self.writer.add_histogram(name, values, step)

    def close(self):
        """Write what is left, and close the file."""
        self.writer.close()

    def __getattr__(self, name):
        if name == "writer":  # not made yet
            raise AttributeError(name)
        return getattr(self.writer, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
