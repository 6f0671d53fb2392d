"""What `import chainrule` costs beside `import numpy`, in fresh processes.

    python benchmarks/import_time.py

Prints seconds (medians of interleaved runs) and the ratio; the aim is at most 1.5. Byte code is written and read, as in use.
"""

import os
import statistics
import subprocess
import sys


def seconds(module):
    """Seconds of one import in a process of its own, without the interpreter's start."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def main():
    times = {"numpy": [], "chainrule": []}
    for _ in range(11):
        for module, found in times.items():
            found.append(seconds(module))
    numpy, chainrule = (statistics.median(found) for found in times.values())
    print(f"import numpy {numpy:.3f} s, import chainrule {chainrule:.3f} s, ratio {chainrule / numpy:.2f}")


if __name__ == "__main__":
    main()
