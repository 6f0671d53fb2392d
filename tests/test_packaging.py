"""The package as others meet it: complete, importable from a wheel, light to import, with examples that run."""

import doctest
import importlib
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"]


def modules():
    """The dotted name of every module of the library -> its file, by the mapping in pyproject.toml."""
    found = {}
    for package, folder in FOLDERS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = file
    return found


def test_every_package_is_listed():
    packages = {name for name, file in modules().items() if file.name == "__init__.py"}
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_folder_with_modules_is_a_package():
    assert all((file.parent / "__init__.py").exists() for file in modules().values())


def test_versions_agree():
    assert cr.__version__ == PROJECT["project"]["version"]
    assert f"## {cr.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_import_brings_in_numpy_and_the_standard_library_only(environment):
    script = """
import random, signal, sys, warnings
before = set(sys.modules)
import numpy.random
before |= {"numpy", *sys.modules}
state = numpy.geterr(), numpy.random.get_state()[1].tolist(), random.getstate(), list(warnings.filters), signal.getsignal(signal.SIGINT)
import chainrule
after = numpy.geterr(), numpy.random.get_state()[1].tolist(), random.getstate(), list(warnings.filters), signal.getsignal(signal.SIGINT)
assert state == after, "import changed a setting"
names = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(names))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["chainrule"]


@pytest.mark.parametrize("name", [folder for folder in FOLDERS.values() if folder != "chainrule"])
def test_a_bare_name_is_refused(name):
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and f"ImportError: import it as chainrule.{name}" in done.stderr


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name):
    """Examples may use `cr`, `nn`, `optim` and `np` without importing them."""
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    names = {"cr": cr, "nn": cr.nn, "optim": cr.optim, "np": np}
    result = doctest.testmod(module, optionflags=flags, extraglobs=names)
    assert result.failed == 0


@pytest.mark.slow
def test_a_wheel_in_a_clean_environment(tmp_path):
    """sdist -> wheel -> an environment that has NumPy and this wheel."""
    run = {"check": True, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT], **run)
    (wheel,) = tmp_path.glob("*.whl")
    expected = {name.replace(".", "/") for name in modules()}
    packed = {
        name.removesuffix(".py").removesuffix("/__init__") for name in zipfile.ZipFile(wheel).namelist()
    }
    assert expected <= packed and "chainrule/py.typed" in packed
    assert "chainrule/backends/cuda_kernels/source/common.cuh" in packed
    assert not {name.partition("/")[0] for name in packed} - {
        "chainrule",
        f"chainrule-{cr.__version__}.dist-info",
    }

    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", wheel], **run)
    # NumPy comes from this environment; its .pth files, an editable chainrule among them, do not count there.
    (site,) = home.glob("lib/*/site-packages")
    (site / "numpy.pth").write_text(sysconfig.get_path("purelib"))
    script = "; ".join(f"import {name}" for name in PROJECT["tool"]["setuptools"]["packages"])
    script += "; print(chainrule.autograd.__file__); print((chainrule.ones(2) * 3).tolist())"
    for folder in (tmp_path, ROOT):
        done = subprocess.run([python, "-P", "-c", script], cwd=folder, **run)
        file, value = done.stdout.split("\n")[:2]
        assert Path(file).is_relative_to(home) and value == "[3.0, 3.0]"
    # Without -P the checkout comes first, and its chainrule finds its parts.
    done = subprocess.run([python, "-c", script], cwd=ROOT, **run)
    assert Path(done.stdout.split("\n")[0]).is_relative_to(ROOT)
