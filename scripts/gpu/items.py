"""One stage as a list of named items, each guarded and written down as soon as it is over.

An item is a function that returns what it found as a dict. One that raises is written down as failed with its traceback, one that
takes too long prints where it hangs and ends the process, and one after which the device is unusable ends the process too; the
conductor then starts the stage again, which goes on after that item.
"""

import faulthandler
import json
import os
import sys
import time
import traceback
from pathlib import Path

BROKEN = 76  # the exit code where the device could not be used any more
# What an item, or a stage, can come to. The first three say that nothing is wrong.
FINE = ("right", "skipped", "no time")


class Wrong(AssertionError):
    """A result that is not what it should be; `values` is kept beside the message."""

    def __init__(self, message, **values):
        super().__init__(message)
        self.values = values


class Skipped(Exception):
    """What an item needs is not on this machine."""


class Part:
    """What a stage has found so far: {"items": {name: {...}}, "finished": bool}, in a file that is always whole."""

    def __init__(self, path):
        self.path = Path(path)
        self.found = {"finished": False, "items": {}}
        if self.path.exists():
            self.found = json.loads(self.path.read_text())

    def put(self, name, **values):
        """Note values of an item."""
        self.found["items"].setdefault(name, {}).update(values)
        self.save()

    def save(self):
        """Write the file anew."""
        write(self.path, json.dumps(self.found, default=str) + "\n")


def write(path, text):
    """Replace a file at once: who reads it finds the old or the new."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def trimmed(error, lines=12):
    """An exception as text: its last frames, messages cut to what helps."""
    text = traceback.format_exception(error)
    found = [line for line in "".join(text).rstrip().splitlines() if line.strip(" ^~")]
    return "\n".join(line[:400] for line in found[-lines:])


def run(items, part, place, deadline, limit=60.0, limits=()):
    """Run {name: function} in order, those that the part has not; returns when all are over or the time is.

    An item that takes longer than `limit` seconds, or than `limits[name]`, ends the process.
    """
    for name, item in items.items():
        if "state" in part.found["items"].get(name, {}):
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            part.put(name, state="no time")
            continue
        start = time.monotonic()
        part.put(name, state="running")
        faulthandler.dump_traceback_later(min(dict(limits).get(name, limit), left + 5), exit=True)
        try:
            values = {"state": "right", **(item() or {})}
        except Skipped as reason:
            values = {"state": "skipped", "reason": str(reason)}
        except Wrong as wrong:
            values = {"state": "wrong", "error": str(wrong)[:1500], **wrong.values}
        except (Exception, SystemExit) as error:  # of any kind: the others are still to be tried
            values = {"state": "failed", "error": trimmed(error)}
        # Still under the watch: a device that hangs does so when it is waited for.
        unusable = place.unusable()
        faulthandler.cancel_dump_traceback_later()
        part.put(name, **values, seconds=round(time.monotonic() - start, 3))
        if unusable:
            if values["state"] == "right":
                part.put(name, state="failed", error=f"the device was unusable afterwards: {unusable}")
            part.put(name, afterwards=unusable)
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(BROKEN)  # no cleaning up on a device that cannot be used
        place.clean()
    part.found["finished"] = True
    part.save()
