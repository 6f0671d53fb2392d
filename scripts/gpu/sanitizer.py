"""NVIDIA's memory and race checks over every kernel on tiny shapes, and another run of what failed before, a launch at a time."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .items import FINE, Skipped, Wrong

LIMIT = 60.0
ROOT = Path(__file__).resolve().parent.parent.parent
SHARE = {"rerun": 0.3, "memcheck": 0.5, "racecheck": 1.0}  # of the time that is left
PLACES = ("/usr/local/cuda/bin/compute-sanitizer", "/usr/local/cuda/compute-sanitizer/compute-sanitizer")
_UNUSABLE = ("Device not supported", "not supported on this", "Unable to find", "initialization failed")


def tool():
    """Where compute-sanitizer is; None if nowhere."""
    home = [
        str(Path(os.environ[name]) / "bin" / "compute-sanitizer")
        for name in ("CUDA_HOME", "CUDA_PATH")
        if name in os.environ
    ]
    return shutil.which("compute-sanitizer") or next(
        (one for one in (*home, *PLACES) if Path(one).exists()), None
    )


def run(command, seconds, **variables):
    """(exit code or None if it was stopped, output)."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **variables}, timeout=max(seconds, 1),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode(errors="replace") if isinstance(
            late.stdout, bytes
        ) else late.stdout or ""


def kernels_once(place, context, name, seconds):
    """The command that runs every kernel on its first case, and the file of what it found."""
    part = context.folder / f"{name}-kernels.json"
    command = [sys.executable, "-P", str(ROOT / "scripts" / "gpu" / "stage.py"), str(ROOT / "scripts" / "gpu" / "tiny.py"), f"--part={part}", f"--seconds={seconds}"]  # fmt: skip
    return command + ["--rehearse"] * (not place.full), part


def checked(place, context, name):
    """One of the sanitizer's tools over all kernels."""
    found = tool()
    if found is None and place.full:
        raise Skipped("compute-sanitizer is not on this machine")
    seconds = (context.deadline - time.monotonic()) * SHARE[name]
    command, part = kernels_once(place, context, name, max(seconds - 3, 1))
    if place.full:
        command = [found, f"--tool={name}", "--print-limit=20", "--error-exitcode=77", *command]
    # One block of the card for each array, so that a step beyond its end is noticed.
    code, output = run(command, seconds, CHAINRULE_EVERY_BLOCK="1")
    items = json.loads(part.read_text())["items"] if part.exists() else {}
    values = {
        "kernels": sum(item.get("state") == "right" for item in items.values()),
        "stopped": code is None,
        "summary": next(
            (line for line in reversed(output.splitlines()) if "SUMMARY" in line), f"exit code {code}"
        ),
    }
    if any(text in output for text in _UNUSABLE):
        raise Skipped(f"compute-sanitizer cannot be used here: {output[-400:]}")
    reports = [line for line in output.splitlines() if line.startswith("=========")]
    if code == 77 or (code and not items):
        raise Wrong("\n".join(reports[:60])[:4000] or output[-2000:], **values)
    return values


def again(place, context, stage, name):
    """An item of an earlier stage once more, alone, with every launch waited for: the traceback is that of the launch."""
    part = context.folder / f"again-{stage}.json"
    part.unlink(missing_ok=True)
    items = {
        other: {"state": "left out"} for other in context.earlier["stages"][stage]["items"] if other != name
    }
    part.write_text(json.dumps({"finished": False, "items": items}))
    seconds = min(20.0, (context.deadline - time.monotonic()) * SHARE["rerun"])
    command = [sys.executable, "-P", str(ROOT / "scripts" / "gpu" / "stage.py"), str(ROOT / "scripts" / "gpu" / f"{stage}.py"), f"--part={part}", f"--seconds={seconds}"]  # fmt: skip
    code, output = run([*command, *["--rehearse"] * (not place.full)], seconds + 3, CUDA_LAUNCH_BLOCKING="1")
    found = json.loads(part.read_text())["items"].get(name, {})
    return {"then": found.get("state"), "error": found.get("error"), "exit code": code, "output": output[-1500:], "summary": f"{name}: now {found.get('state')}"}  # fmt: skip


def tests_again(place, context, failed):
    """The first tests that failed, once more."""
    seconds = min(25.0, (context.deadline - time.monotonic()) * SHARE["rerun"])
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "--tb=long",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:benchmark",
        "-W",
        "default",
        *failed,
    ]
    code, output = run(command, seconds, CUDA_LAUNCH_BLOCKING="1", CHAINRULE_TEST_DEVICES=place.device)
    return {"tests": failed, "exit code": code, "output": output[-6000:], "summary": f"exit code {code}"}


def items(place, context):
    """Reruns of what failed come first, they are few."""
    found = {}
    stages = context.earlier.get("stages", {})
    for stage in ("kernels", "libraries", "capture"):
        bad = [
            name
            for name, item in stages.get(stage, {}).get("items", {}).items()
            if item.get("state") not in (*FINE, "running")
        ]
        for name in bad[:1]:
            found[f"again: {stage}, {name}"] = lambda s=stage, n=name: again(place, context, s, n)
    failed = [
        one["failed"]
        for item in stages.get("parity", {}).get("items", {}).values()
        for one in item.get("failed", [])
    ]
    if failed:
        found["again: tests"] = lambda: tests_again(place, context, failed[:3])
    return found | {name: lambda n=name: checked(place, context, n) for name in ("memcheck", "racecheck")}
