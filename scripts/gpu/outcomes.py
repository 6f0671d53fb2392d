"""A pytest plugin, `-p scripts.gpu.outcomes`: writes every outcome down at once, so that a run that is stopped leaves them.

CHAINRULE_OUTCOMES names the file: a line of JSON for each failure, and in the end, or once a second, the counts. Of the tests, those that
use the `device` fixture are run: the others know nothing of a card.
"""

import json
import os
import time
from collections import Counter

counts = Counter()
_written = 0.0


def _line(**values):
    with open(os.environ["CHAINRULE_OUTCOMES"], "a") as file:
        file.write(json.dumps(values) + "\n")


def pytest_collection_modifyitems(config, items):
    """Leave out what is about the CPU."""
    left_out = [one for one in items if "device" not in getattr(one, "fixturenames", ())]
    items[:] = [one for one in items if "device" in getattr(one, "fixturenames", ())]
    config.hook.pytest_deselected(items=left_out)


def pytest_runtest_logreport(report):
    """Of a test as soon as it is over; where tests are run by several processes, in the one that has sent them out."""
    global _written
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    if report.when == "call" or report.outcome != "passed":
        counts[report.outcome] += 1
    if report.outcome == "failed":
        _line(failed=report.nodeid, when=report.when, text=report.longreprtext[-1500:])
    if time.monotonic() - _written > 1:
        _written = time.monotonic()
        _line(counts=counts)


def pytest_sessionfinish(session, exitstatus):
    """The counts of all."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        _line(counts=counts, exitstatus=int(exitstatus))
