"""A second opinion on every operation: PyTorch's own operator database, run against chainrule. See `make conformance`.

    python -P scripts/conformance                    every operator, a line for each that differs, and totals
    python -P scripts/conformance cumsum linalg.     those whose name is, or starts with (at a dot), one of these
    python -P scripts/conformance -v cumsum          each difference in full

`torch.testing._internal.common_methods_invocations.op_db` ships inside the PyTorch wheel: for each operator, calls that must
work in each dtype, and calls that must be refused. Each call is made twice, here and there, and compared: values, shapes,
dtypes; the gradient and the second derivative in a random direction; the method and the in-place form; and whether what
PyTorch refuses is refused here with a clean error. Differences that are meant stand in `docs/differences.md`, with the reason.
Developers only: PyTorch is no dependency.
"""

import argparse
import collections
import concurrent.futures
import multiprocessing
import pathlib
import re
import signal
import sys
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from operator_checks import NOT_OURS, Operator, Result, brief_error  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 240  # for one operator; far more than any needs that does not hang


def check(index):
    """The result for one entry of the database; a hang or a crash of the check itself is a difference too."""

    def stop(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    operator = Operator(op_db[index])
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return operator.run()
    except Exception as error:
        operator.note("forward", f"the check itself failed: {brief_error(error)}")
        return Result(operator.name, True, dict(operator.counts), operator.differences, 0, 0)
    finally:
        signal.alarm(0)


def meant():
    """{(operator, check)} of the differences that docs/differences.md gives a reason for."""
    found = set()
    for line in (ROOT / "docs/differences.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) >= 3:
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found.update((name, one) for one in re.findall(r"[a-z-]+", cells[1]))
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="operators; a name that ends in a dot stands for all below it"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="each difference in full")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [
        index for index, info in enumerate(op_db)
        if not NOT_OURS.search(info.name)
        and (not options.names or any(info.name == name or (name.endswith(".") and info.name.startswith(name)) for name in options.names))
    ]  # fmt: skip
    if not chosen:
        sys.exit(f"no operator of the database is called {' or '.join(options.names)}")
    context = multiprocessing.get_context("fork")
    if options.jobs > 1:
        with concurrent.futures.ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=None) as pool:
            results = list(pool.map(check, chosen, chunksize=4))
    else:
        results = [check(index) for index in chosen]
    sys.exit(report(results, options.verbose))


def report(results, verbose):
    """Print what differs and the totals; the exit status: 1 if a difference is not meant."""
    expected = meant()
    bad = 0
    totals = collections.Counter()
    for result in results:
        if not result.carried:
            totals["absent"] += 1
            bad += (result.name, "absent") not in expected
            print(f"{result.name}: no such name here")
            continue
        totals["carried"] += 1
        kinds = collections.Counter(kind for kind, _ in result.differences)
        for kind in ("forward", "gradient", "second", "method", "in-place"):
            if result.checks.get(kind) or kinds[kind]:
                totals[f"{kind} checked"] += 1
                totals[f"{kind} agree"] += not kinds[kind]
        totals["errors"] += result.errors
        totals["refused"] += result.refused
        if kinds:
            new = [kind for kind in kinds if (result.name, kind) not in expected]
            bad += any(kind != "errors" for kind in new)
            counts = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
            first = next((text for kind, text in result.differences if kind in (new or kinds)), "")
            print(
                f"{result.name}: {counts}{'' if new else ' (meant)'}"
                + ("" if verbose else f": {first[:200]}")
            )
            if verbose:
                for kind, text in result.differences:
                    print(f"    {kind}: {text}")
    print(f"\n{totals['carried']} of {len(results)} operators carried")
    for kind in ("forward", "gradient", "second", "method", "in-place"):
        calls = sum(result.checks.get(kind, 0) for result in results)
        print(
            f"{kind}: {totals[f'{kind} agree']} of {totals[f'{kind} checked']} agree in every one of {calls:,} calls"
        )
    share = 100 * totals["refused"] / totals["errors"] if totals["errors"] else 100.0
    print(f"invalid calls refused cleanly: {totals['refused']} of {totals['errors']} ({share:.1f} %)")
    return 1 if bad or share < 95 else 0


if __name__ == "__main__":
    main()
