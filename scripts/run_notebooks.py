"""Run notebooks in place and keep their outputs, without the times of each run: only a change of an output makes a diff.

python scripts/run_notebooks.py notebooks/*.ipynb
"""

import pathlib
import sys

import nbformat
from nbclient import NotebookClient


def main():
    """Execute each notebook named on the command line, in its own folder."""
    for name in sys.argv[1:]:
        path = pathlib.Path(name)
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, timeout=600, record_timing=False, resources={"metadata": {"path": path.parent}}
        ).execute()
        nbformat.write(notebook, path)
        print(f"executed {path}")


if __name__ == "__main__":
    main()
