"""Run the test suite on CUDA and write down what was run where.

    python scripts/gpu_check.py [--out FILE] [pytest arguments]

Prints device, driver, CUDA and CuPy versions, checks and times every kernel (`gpu_kernels.py`), runs the tests with
CHAINRULE_TEST_DEVICES=cuda, and writes what came of it to docs/gpu_results/. Each part has its time: in ten minutes all is
over. Where no GPU can be used it says "skipped", why, and exits with 0.
"""

import argparse
import datetime
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import chainrule as cr  # noqa: E402 - found in the checkout, installed or not


def machine():
    """What this runs on, as (name, value) rows; the first names the GPU."""
    import cupy
    import numpy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    return [
        ("GPU", properties["name"].decode()),
        ("memory", f"{properties['totalGlobalMem'] / 2**30:.0f} GiB"),
        ("compute capability", f"{properties['major']}.{properties['minor']}"),
        (
            "CUDA driver / runtime",
            f"{_version(runtime.driverGetVersion())} / {_version(runtime.runtimeGetVersion())}",
        ),
        ("CuPy", cupy.__version__),
        ("NumPy", numpy.__version__),
        ("Python", platform.python_version()),
        ("chainrule", cr.__version__),
    ]


def _version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


KERNEL_SECONDS, TEST_SECONDS = 200, 360


def run_kernels():
    """The exit code of the check of the kernels, in a process of its own: what a wrong kernel breaks ends with it."""
    command = [sys.executable, "-P", str(ROOT / "scripts" / "gpu_kernels.py"), f"--seconds={KERNEL_SECONDS}"]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=KERNEL_SECONDS + 20).returncode
    except subprocess.TimeoutExpired:
        print("gpu-check: a kernel did not come to an end")
        return 1


def run_tests(arguments):
    """(exit code, counts by outcome, names of the tests that failed) of the suite on CUDA."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
        ]
        if importlib.util.find_spec("xdist"):
            command += ["-n", "4"]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "CHAINRULE_TEST_DEVICES": "cuda",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        try:
            code = subprocess.run(
                [*command, *arguments], cwd=ROOT, env=environment, timeout=TEST_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            print(f"gpu-check: the tests did not end within {TEST_SECONDS} s; give some of them as arguments")
            return 1, {}, []
        if not report.exists():
            return code, {}, []
        suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return code, counts, failed


def write(path, rows, counts, failed):
    """The result as a Markdown page."""
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    lines = [
        f"# Tests on {rows[0][1]}",
        "",
        f"{datetime.date.today()}: **{passed} passed, {counts['failures'] + counts['errors']} failed**, {counts['skipped']} skipped "
        f"(`make gpu-check`).",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    if failed:
        lines += ["", "Failed:", "", *(f"- `{name}`" for name in failed)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def main():
    """Check, run, report; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the tests on CUDA.")
    parser.add_argument("--out", type=Path, help="where to write the result")
    options, arguments = parser.parse_known_args()
    backend = cr.backends.get("cuda")
    if not backend.available():
        print(f"gpu-check: skipped: {backend.why_not()}")
        return 0
    if not importlib.util.find_spec("pytest"):
        print(
            "gpu-check: pytest is not installed for this interpreter; install it, or run without PYTHON=..."
        )
        return 1
    rows = machine()
    for name, value in rows:
        print(f"{name}: {value}")
    wrong = run_kernels()
    code, counts, failed = run_tests(arguments)
    if counts:
        name = "".join(c if c.isalnum() else "_" for c in rows[0][1]).lower()
        out = options.out or ROOT / "docs" / "gpu_results" / f"{name}.md"
        write(out, rows, counts, failed)
        print(f"gpu-check: wrote {out}")
    return code or wrong


if __name__ == "__main__":
    sys.exit(main())
