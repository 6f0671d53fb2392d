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
from module_checks import Module  # noqa: E402
from operator_checks import NOT_OURS, Operator, Result, brief_error  # noqa: E402
from optimizer_checks import Optimizer  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402
from torch.testing._internal.common_optimizers import optim_db  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 240  # for one operator; far more than any needs that does not hang


# section -> (database, what checks an entry of it, how its entries are called)
SECTIONS = {
    "operators": ([one for one in op_db if not NOT_OURS.search(one.name)], Operator, ""),
    "modules": (module_db, Module, ""),
    "optimizers": (optim_db, Optimizer, "optim."),
}


def check(place):
    """(section, result) for one entry; a hang or a crash of the check itself is a difference too."""

    def stop(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    section, index = place
    entries, kind, prefix = SECTIONS[section]
    checks = kind(entries[index])
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = checks.run()
    except Exception as error:
        checks.note("forward", f"the check itself failed: {brief_error(error)}")
        result = Result(checks.name, True, dict(checks.counts), checks.differences, 0, 0)
    finally:
        signal.alarm(0)
    return section, result._replace(name=prefix + result.name)


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
        (section, index)
        for section, (entries, _, prefix) in SECTIONS.items()
        for index, info in enumerate(entries)
        if not options.names or any(_is_called(prefix + info.name, name) for name in options.names)
    ]
    if not chosen:
        sys.exit(f"nothing in the databases is called {' or '.join(options.names)}")
    if options.jobs > 1:
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(options.jobs, context) as pool:
            results = list(pool.map(check, chosen, chunksize=4))
    else:
        results = [check(place) for place in chosen]
    bad = [
        report(section, [result for place, result in results if place == section], options.verbose)
        for section in SECTIONS
        if any(place == section for place, _ in results)
    ]
    sys.exit(int(any(bad)))


def _is_called(name, asked):
    return name == asked or (asked.endswith(".") and name.startswith(asked))


def report(section, results, verbose):
    """Print what differs and the totals of a section; whether a difference is not meant."""
    expected = meant()
    bad = 0
    for result in results:
        if not result.carried:
            bad += (result.name, "absent") not in expected
            print(f"{result.name}: no such name here")
            continue
        kinds = collections.Counter(kind for kind, _ in result.differences)
        if not kinds:
            continue
        new = [kind for kind in kinds if (result.name, kind) not in expected]
        bad += any(kind != "errors" for kind in new)
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.items()) + ("" if new else " (meant)")
        first = next((text for kind, text in result.differences if kind in (new or kinds)), "")
        print(f"{result.name}: {counts}" + ("" if verbose else f": {first[:200]}"))
        if verbose:
            print("\n".join(f"    {kind}: {text}" for kind, text in result.differences))
    print(f"\n{sum(result.carried for result in results)} of {len(results)} {section} carried")
    share = _totals(results)
    return bool(bad) or share < 95


def _totals(results):
    """Print, for each check, how many agree in every call; the percentage of invalid calls that are refused."""
    for kind in ("forward", "gradient", "second", "method", "in-place", "steps", "state"):
        checked = [one for one in results if one.checks.get(kind) or kind in dict(one.differences)]
        agree = sum(kind not in dict(one.differences) for one in checked)
        calls = sum(one.checks.get(kind, 0) for one in results)
        if checked:
            print(f"{kind}: {agree} of {len(checked)} agree in every one of {calls:,} calls")
    errors, refused = sum(one.errors for one in results), sum(one.refused for one in results)
    if not errors:
        return 100.0
    print(f"invalid calls refused cleanly: {refused} of {errors} ({100 * refused / errors:.1f} %)\n")
    return 100 * refused / errors


if __name__ == "__main__":
    main()
