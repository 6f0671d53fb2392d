"""`examples/train_digits.py`, run as a user runs it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parent.parent


def start(out, *args):
    """The demo as a process of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [
            sys.executable,
            "-u",
            str(ROOT / "examples" / "train_digits.py"),
            "--device",
            "cpu",
            "--out",
            str(out),
            *args,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def run(out, *args):
    """Its lines on standard output."""
    with start(out, *args) as process:
        said, errors = process.communicate()
    assert process.returncode == 0, errors
    return said.splitlines()


def accuracy(lines):
    return float(re.fullmatch(r"test accuracy: (\d\.\d{4})", lines[-1])[1])


@pytest.mark.parametrize("model", ["mlp", "cnn", "lstm"])
def test_two_epochs(model, tmp_path):
    lines = run(tmp_path, "--model", model, "--epochs", "2")
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert accuracy(lines) > 0.5
    assert (tmp_path / "best.safetensors").stat().st_size > 10_000
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "graph.svg").exists() or (tmp_path / "graph.dot").exists()


def test_a_seed_decides_everything(tmp_path):
    def epochs(seed):
        return [
            line
            for line in run(tmp_path, "--epochs", "1", "--seed", seed)
            if "epoch " in line or "test" in line
        ]

    first, again, other = epochs("3"), epochs("3"), epochs("4")
    assert first == again != other


@pytest.mark.skipif(os.name == "nt", reason="interrupts another way")
def test_an_interrupt_keeps_the_best_weights(tmp_path):
    lines = []
    with start(tmp_path, "--epochs", "500") as process:
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("epoch  2"):
                process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    assert "stopped; the best weights so far are kept" in lines
    assert accuracy(lines) > 0.5 and (tmp_path / "best.safetensors").exists()


def test_bad_arguments(tmp_path):
    with start(tmp_path, "--epochs", "0") as process:
        _, errors = process.communicate()
    assert process.returncode == 2 and "--epochs must be at least 1, got 0" in errors


@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("mlp", 0.97), ("cnn", 0.98), ("lstm", 0.95)])
def test_accuracy(model, least, tmp_path):
    assert accuracy(run(tmp_path, "--model", model)) >= least
