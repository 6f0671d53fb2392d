"""Lay the library out in build/types/chainrule as it is when installed, by links, for type checkers.

The folders at the top of the repository become sub-packages through a mapping in pyproject.toml, which type checkers
do not know. With build/types as their search path they see one ordinary package.
"""

import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "types"


def main():
    """Make the links anew; returns the folder to put on a search path."""
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    shutil.rmtree(TARGET, ignore_errors=True)
    package = TARGET / "chainrule"
    package.mkdir(parents=True)
    for source in (ROOT / "chainrule").iterdir():
        if source.name != "__pycache__":
            (package / source.name).symlink_to(source)
    for name, folder in mapping.items():
        if name != "chainrule":
            (package / name.removeprefix("chainrule.")).symlink_to(ROOT / folder)
    return TARGET


if __name__ == "__main__":
    main()
