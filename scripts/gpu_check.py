"""Check and time everything on a CUDA card, in less than ten minutes.

    make gpu-check                      python scripts/gpu_check.py [--out FOLDER] [--stages NAME,...] [--rehearse]

Seven stages, each a process of its own with its time: versions and ceilings; every kernel against its reference; matrix products,
convolutions and attention; the tests and whole models against the CPU; captured training steps; the benchmarks; the sanitizer. What a
stage has found is in `benchmarks/results/<gpu>-<date>.json`, and as tables in the page beside it, while it still runs: a run that is
stopped leaves what was done. The exit code is 1 if something was computed wrongly. Without a card it says why in one line and exits
with 0. `--rehearse` runs all of it, tiny, on the stand-in for a card, and writes to a temporary folder.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# A folder without __init__.py comes last in the search: a package of that name installed anywhere would hide this one.
sys.modules["scripts"] = types.ModuleType("scripts")
sys.modules["scripts"].__path__ = [str(ROOT / "scripts")]

from scripts.gpu.items import FINE, Part, write  # noqa: E402
from scripts.gpu.page import page  # noqa: E402

STAGE = ROOT / "scripts" / "gpu" / "stage.py"
PROBE_SECONDS = 10  # of the time in all, before the first stage
AT_MOST_RESTARTS = 8


@dataclass(frozen=True)
class Stage:
    """A file with items, its seconds, and whether a wrong item makes the check fail. Time left over goes to those after it."""

    file: Path
    seconds: float
    decides: bool = True

    @property
    def name(self):
        return self.file.stem


def _stage(name, seconds, decides=True):
    return Stage(STAGE.parent / f"{name}.py", seconds, decides)


STAGES = (
    _stage("versions", 40),
    _stage("kernels", 75),
    _stage("libraries", 55),
    _stage("parity", 100),
    _stage("capture", 50),
    _stage("workloads", 180, decides=False),
    _stage("sanitizer", 60),
)


class Report:
    """The JSON file and the page, written anew whenever something was found. Where they cannot be, as on a full disk, the check goes on."""

    def __init__(self, path, **about):
        self.path = path
        self.data = {"schema": 1, **about, "stages": {}}
        self.written = ""
        self.failed = None

    def stage(self, name, **values):
        """Note what is known of a stage, and write."""
        self.data["stages"].setdefault(name, {}).update(values)
        text = json.dumps(self.data, indent=1, default=str)
        if text != self.written:
            try:
                write(self.path, text + "\n")
                write(self.path.with_suffix(".md"), page(self.data))
                self.written, self.failed = text, None
            except OSError as error:
                if self.failed is None:
                    print(f"gpu-check: the report cannot be written ({error}); going on", flush=True)
                self.failed = error


def environment():
    """Variables for a stage: the checkout is found, and what Python prints comes out at once."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def kill(process):
    """End a process and what it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def tail(path, size=4000):
    """The end of a log."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return text[-size:]


def died(code):
    """How a process ended, in words."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def run_stage(stage, report, folder, until, rehearse):
    """Run one stage until it is over or its time is; its part of the report is kept up to date meanwhile."""
    started, path, log = time.monotonic(), folder / f"{stage.name}.json", folder / f"{stage.name}.log"
    report.stage(stage.name, state="running", budget=stage.seconds, decides=stage.decides, items={})
    posix = {"process_group": 0} if os.name == "posix" else {}
    state, restarts = "running", 0
    while state == "running":
        left = until - time.monotonic()
        command = [sys.executable, "-P", str(STAGE), str(stage.file), f"--part={path}"]
        command += [
            f"--seconds={max(1, left - 4)}",
            *[f"--earlier={report.path}"][: int(report.path.exists())],
            *["--rehearse"][: int(rehearse)],
        ]
        with open(log, "a") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdout=output, stderr=output, **posix
            )
        code = _watch(process, path, stage, report, until)
        part = Part(path)
        running = [name for name, item in part.found["items"].items() if item["state"] == "running"]
        for name in running:
            how = "was stopped, the time was over" if code is None else died(code)
            part.put(
                name, state="no time" if code is None else "died", error=f"the process {how}\n{tail(log)}"
            )
        if part.found["finished"]:
            state = "ended"
        elif code is None:
            state = "out of time"
        elif restarts == AT_MOST_RESTARTS or not (running or code == 76) or until - time.monotonic() < 3:
            state = "failed"
        restarts += 1
        report.stage(stage.name, items=part.found["items"])
    report.stage(
        stage.name,
        state=state,
        seconds=round(time.monotonic() - started, 1),
        restarts=restarts - 1,
        **({} if state == "ended" and restarts == 1 else {"log": tail(log)}),
    )
    return report.data["stages"][stage.name]


def _watch(process, path, stage, report, until):
    """The exit code of a stage's process, None if its time was over; what it writes is taken into the report meanwhile."""
    seen = 0.0
    try:
        while process.poll() is None:
            if time.monotonic() > until:
                kill(process)
                return None
            time.sleep(0.1)
            if time.monotonic() - seen > 2 and path.exists():
                seen = time.monotonic()
                report.stage(stage.name, items=Part(path).found["items"])
    except BaseException:  # Ctrl-C, or whoever stops us
        kill(process)
        items = Part(path).found["items"]
        for item in items.values():
            item["state"] = "no time" if item["state"] == "running" else item["state"]
        report.stage(stage.name, state="stopped", items=items)
        raise
    kill(process)  # what it left running
    return process.returncode


def summary(found):
    """(line, whether something is wrong) for a stage."""
    states = Counter(item.get("state") for item in found["items"].values())
    bad = [name for name, item in found["items"].items() if item.get("state") not in FINE]
    text = ", ".join(f"{states[state]} {state}" for state in sorted(states, key=str)) or "nothing was run"
    if bad:
        text += f" ({', '.join(bad[:6])}{', ...' if len(bad) > 6 else ''})"
    if found["state"] != "ended":
        text = f"{found['state']}: {text}"
    return text, bool(bad) or found["state"] == "failed"


def check(stages, report, rehearse=False, until=None):
    """Run stages in order, the first of them from `until` on; the exit code."""
    wrong, until = False, time.monotonic() if until is None else until
    with tempfile.TemporaryDirectory() as folder:
        for stage in stages:
            until += stage.seconds * (4 if rehearse else 1)
            found = run_stage(stage, report, Path(folder), until, rehearse)
            text, bad = summary(found)
            wrong |= bad and stage.decides
            print(f"gpu-check: {stage.name:<9} {found['seconds']:6.1f} s  {text}", flush=True)
    report.data["wrong"] = wrong
    report.stage(stages[-1].name)
    return int(wrong)


def probe(rehearse):
    """What `stage.py --probe` says: {"gpu": name} or {"reason": why not}."""
    command = [sys.executable, "-P", str(STAGE), "--probe", *["--rehearse"][: int(rehearse)]]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return {"reason": "a first computation on the device did not end within 60 s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        error = done.stderr.strip().splitlines()
        return {"reason": f"the probe {died(done.returncode)}: {error[-1][:300] if error else 'no message'}"}
    return json.loads(lines[-1])


def free_name(folder, gpu):
    """<gpu>-<date>.json, with a number if there is one of that name."""
    name = "-".join("".join(c if c.isalnum() else " " for c in gpu.lower()).split())
    path = folder / f"{name}-{datetime.date.today()}.json"
    for number in range(2, 1000):
        if not path.exists():
            break
        path = folder / f"{name}-{datetime.date.today()}-{number}.json"
    return path


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="the folder to write to (benchmarks/results)")
    parser.add_argument("--stages", help="only these, names with commas between")
    parser.add_argument("--rehearse", action="store_true", help="on the stand-in for a card, tiny")
    options = parser.parse_args()
    names = [stage.name for stage in STAGES]
    chosen = options.stages.split(",") if options.stages else names
    if set(chosen) - set(names):
        parser.error(f"--stages: there are {', '.join(names)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that stages are ended with us
    started = time.monotonic()
    found = probe(options.rehearse)
    if "reason" in found:
        print(f"gpu-check: no usable CUDA device: {found['reason']}")
        return 0
    folder = options.out
    if folder is None:
        folder = (
            Path(tempfile.mkdtemp(prefix="gpu-check-"))
            if options.rehearse
            else ROOT / "benchmarks" / "results"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        print(f"gpu-check: cannot write to {folder} ({error}); name another folder with --out")
        return 2
    report = Report(
        free_name(folder, found["gpu"]),
        gpu=found["gpu"],
        date=str(datetime.date.today()),
        rehearsal=options.rehearse,
        python=platform.python_version(),
        platform=platform.platform(),
        probe_seconds=round(time.monotonic() - started, 1),
    )
    print(f"gpu-check: {found['gpu']}; writing {report.path} and .md", flush=True)
    stages = [stage for stage in STAGES if stage.name in chosen]
    try:
        code = check(stages, report, options.rehearse, started + PROBE_SECONDS)
        said = "SOMETHING IS WRONG" if code else "nothing wrong"
    except (KeyboardInterrupt, SystemExit) as stop:
        code, said = stop.code if isinstance(stop, SystemExit) else 130, "stopped"
    print(f"gpu-check: {said}; see {report.path.with_suffix('.md')}")
    if report.failed is not None:
        print(f"gpu-check: that is not all of it: the report could not be written ({report.failed})")
    return code or (2 if report.failed is not None else 0)


if __name__ == "__main__":
    sys.exit(main())
