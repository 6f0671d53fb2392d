"""The byte code of generated functions is kept between processes, and never in the way."""

import subprocess
import sys

import pytest

SCRIPT = """
import chainrule as cr
x = cr.tensor([1.0, 2.0], requires_grad=True)
(x * x).sum().backward()
assert x.grad.tolist() == [2.0, 4.0]
from chainrule.autograd import kept_code
print(kept_code._news, kept_code._path())
"""


@pytest.fixture
def run(environment, tmp_path):
    """A function that runs the script in a new process and gives (whether it compiled, the path of what is kept)."""
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def once(*options, prefix=tmp_path):
        done = subprocess.run(
            [sys.executable, "-P", *options, "-c", SCRIPT], capture_output=True, text=True,
            env={**environment, "PYTHONPYCACHEPREFIX": str(prefix)}, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0 and not done.stderr, done.stderr
        news, path = done.stdout.split(maxsplit=1)
        return news == "True", type(tmp_path)(path.strip())

    return once


def test_the_second_process_compiles_nothing(run):
    compiled, path = run()
    assert compiled and path.exists()
    before = path.read_bytes()
    assert run() == (False, path)
    assert path.read_bytes() == before
    assert list(path.parent.glob(path.name + ".*")) == []


@pytest.mark.parametrize("damage", [b"", b"something else", None])
def test_a_damaged_file_is_written_anew(run, damage):
    _, path = run()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert run() == (True, path)
    assert run() == (False, path)


def test_nothing_is_written_where_byte_code_is_not_wanted(run):
    _, path = run("-B")
    assert not path.exists()


def test_a_folder_that_cannot_be_written_does_not_matter(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    compiled, path = run(prefix=tmp_path / "file")
    assert compiled and not path.exists()


def test_one_text_is_compiled_once_whatever_operation_asks_first(monkeypatch):
    from chainrule.autograd import kept_code

    monkeypatch.setattr(kept_code, "_codes", {})
    monkeypatch.setattr(kept_code, "_news", True)  # nothing is to be written at the end
    first = kept_code.compiled("answer = 42", "<like one>")
    assert kept_code.compiled("answer = 42", "<like another>") is first and first.co_filename == "<like one>"
