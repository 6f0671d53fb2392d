"""`make gpu-check` without a card: stages that fail in every way leave what the others found, and the rehearsal runs all of it."""

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.cuda_kernels import KERNELS
from tests.kernels import emulator

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "gpu_check.py"


@pytest.fixture(scope="module")
def check():
    """The script as a module."""
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = sys.modules["gpu_check"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before
    del sys.modules["gpu_check"]


STAGES = {
    "right": """
        def items(place, context):
            return {"one": lambda: {"value": 1}, "skipped": skip}
        def skip():
            raise Skipped("there is no such thing")
        """,
    "wrong": """
        def items(place, context):
            return {"bad": bad, "raises": lambda: 1 / 0, "good": lambda: {"value": context.value("right", "one", "value")}}
        def bad():
            raise Wrong("off by one", error_of_it=1.0)
        """,
    "killed": """
        def items(place, context):
            return {"good": dict, "dies": lambda: os.kill(os.getpid(), 9), "after": dict}
        """,
    "hanging": """
        LIMIT = 0.5
        def items(place, context):
            return {"good": dict, "hangs": lambda: time.sleep(60), "after": dict}
        """,
    "unusable": """
        def items(place, context):
            def breaks():
                place.unusable = lambda: "an illegal address was met"
            return {"breaks": breaks, "after": dict}
        """,
    "late": """
        def items(place, context):
            return {"good": dict, "too long": lambda: time.sleep(60), "never": dict}
        """,
    "unstarted": """
        import a_module_that_there_is_not
        """,
    "last": """
        def items(place, context):
            return {"good": dict}
        """,
}
HEAD = "import os, time\nfrom scripts.gpu.items import Skipped, Wrong\n"


def states(stage):
    return {name: item["state"] for name, item in stage["items"].items()}


def test_stages_that_fail_leave_what_the_others_found(check, tmp_path, capsys):
    stages = []
    for name, text in STAGES.items():
        file = tmp_path / f"{name}.py"
        file.write_text(HEAD + textwrap.dedent(text))
        stages.append(check.Stage(file, 60))
    seen = []

    class Watched(check.Report):
        def stage(self, name, **values):
            super().stage(name, **values)
            seen.append((name, states(self.data["stages"][name])))

    report = Watched(tmp_path / "report.json", gpu="no card", date="today")
    run_stage = check.run_stage

    def in_little_time(stage, *args):
        """The late stage has four seconds, whatever those before it took."""
        *args, until, rehearse = args
        until = check.time.monotonic() + (6 if stage.name == "late" else 60)
        return run_stage(stage, *args, until, rehearse)

    check.run_stage = in_little_time
    try:
        assert check.check(stages, report, rehearse=True) == 1
    finally:
        check.run_stage = run_stage
    data = json.loads((tmp_path / "report.json").read_text())
    found = data["stages"]
    assert list(found) == list(STAGES) and data["wrong"] is True
    assert states(found["right"]) == {"one": "right", "skipped": "skipped"}
    assert states(found["wrong"]) == {"bad": "wrong", "raises": "failed", "good": "right"}
    assert found["wrong"]["items"]["good"]["value"] == 1  # what the stage before has found
    assert found["wrong"]["items"]["bad"]["error_of_it"] == 1.0
    assert "ZeroDivisionError" in found["wrong"]["items"]["raises"]["error"]
    assert states(found["killed"]) == {"good": "right", "dies": "died", "after": "right"}
    assert "SIGKILL" in found["killed"]["items"]["dies"]["error"] and found["killed"]["restarts"] == 1
    assert states(found["hanging"]) == {"good": "right", "hangs": "died", "after": "right"}
    assert "hanging.py" in found["hanging"]["items"]["hangs"]["error"]  # the line where it hangs
    assert states(found["unusable"]) == {"breaks": "failed", "after": "right"}
    assert "illegal address" in found["unusable"]["items"]["breaks"]["error"]
    assert found["late"]["state"] == "out of time"
    assert states(found["late"])["good"] == "right" and states(found["late"])["too long"] != "right"
    assert ("late", {"good": "right", "too long": "running"}) in seen  # in the file while it still ran
    assert (
        found["unstarted"]["state"] == "failed" and "a_module_that_there_is_not" in found["unstarted"]["log"]
    )
    assert states(found["last"]) == {"good": "right"}
    text = (tmp_path / "report.md").read_text()
    assert "| wrong | bad | wrong | off by one |" in text and "**Something is wrong.**" in text
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(STAGES) and "2 right" not in lines[1] and "bad" in lines[1]


def test_what_is_right_or_only_slow_does_not_fail_the_check(check, tmp_path):
    file = tmp_path / "slow.py"
    file.write_text(HEAD + "def items(place, context):\n    return {'bad': lambda: 1 / 0}\n")
    for decides, code in ((False, 0), (True, 1)):
        report = check.Report(tmp_path / f"report{decides}.json", gpu="no card", date="today")
        assert check.check([check.Stage(file, 30, decides)], report, rehearse=True) == code


def test_the_times_add_up_to_less_than_ten_minutes(check):
    assert check.PROBE_SECONDS + sum(stage.seconds for stage in check.STAGES) <= 570
    assert all(stage.file.exists() for stage in check.STAGES)


def test_a_report_never_replaces_another(check, tmp_path):
    first = check.free_name(tmp_path, "NVIDIA H100 80GB HBM3")
    assert first.name.startswith("nvidia-h100-80gb-hbm3-20")
    first.touch()
    assert check.free_name(tmp_path, "NVIDIA H100 80GB HBM3") != first


def test_without_a_card_it_says_why_in_a_line(environment):
    if cr.cuda.is_available():
        pytest.skip("there is a card")
    done = subprocess.run([sys.executable, "-P", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gpu-check: no usable CUDA device: ") and done.stdout.count("\n") == 1


# --- the parts ---


@pytest.fixture
def stand_in():
    from scripts.gpu.place import Rehearsal

    return Rehearsal()


def test_a_kernel_that_writes_beside_its_output_or_not_all_of_it_is_found_out(stand_in, monkeypatch):
    from scripts.gpu import kernels
    from scripts.gpu.items import Wrong

    def reference(x):
        return x + 1

    def plain(launch, xp, x):
        y = xp.empty_like(x)
        y[...] = x + 1
        return y

    def beside(launch, xp, x):
        memory, start, end = xp.made[-1]
        y = plain(launch, xp, x)
        memory, start, end = xp.made[-1]
        memory[end : end + 1] = 0
        return y

    def not_all(launch, xp, x):
        y = xp.empty_like(x)
        y[..., 1:] = x[..., 1:] + 1
        return y

    monkeypatch.setattr(stand_in, "kernels", lambda: None)
    monkeypatch.setattr(
        kernels.cases,
        "cases",
        lambda name, seed=0: [((np.random.default_rng(seed).standard_normal((3, 5)),), {})],
    )
    made = lambda function: SimpleNamespace(name="some", function=function, reference=reference)
    assert kernels.right(stand_in, made(plain), "float32") == {"cases": 3}
    with pytest.raises(Wrong, match="memory after an array of 60 bytes was written"):
        kernels.right(stand_in, made(beside), "float32")
    with pytest.raises(Wrong, match=r"draw 0, case 0 \[\(3, 5\)\]"):
        kernels.right(stand_in, made(not_all), "float32")


def test_what_is_timed_is_there():
    from benchmarks.gpu.workloads import WORKLOADS
    from scripts.gpu.kernels import _UNDER, TIMED, Sizes
    from scripts.gpu.workloads import ORDER

    for name in TIMED:
        assert _UNDER.get(name, name) in KERNELS and hasattr(Sizes, name), name
    assert {one.number for one in WORKLOADS.values()} == set(range(1, 21))
    assert sorted(ORDER) == sorted(WORKLOADS)


def test_calls_are_measured_in_turn(stand_in):
    order = []
    calls = {"a": lambda i: order.append("a"), "b": lambda i: order.append("b")}
    stand_in.elapsed = lambda call, times: [call(i) for i in range(times)] and 2.5 * times
    found = stand_in.interleaved(calls, rounds=3, aim=5.0)
    assert order == ["a"] * 3 + ["b"] * 3 + ["a", "a", "b", "b"] * 3
    assert found["a"] == {"ms": 2.5, "least": 2.5, "most": 2.5, "calls": 6}


def test_the_page_takes_what_there_is(check):
    assert check.page({"gpu": "some", "date": "today", "stages": {}}).startswith("# Check on some, today")
    stages = {
        name: {"state": "running", "items": {"a b": {"state": "running"}}}
        for name in [stage.name for stage in check.STAGES]
    }
    text = check.page({"gpu": "some", "date": "today", "stages": stages})
    assert "## Workloads" in text and "## Wrong" not in text


@pytest.mark.parametrize("name", ["mlp", "lstm", "gru", "gpt", "resnet", "cifar"])
def test_models_are_written_once_for_both_libraries(torch, name):
    from benchmarks.gpu.models import MODELS, training

    model = MODELS[name]
    network, peer = (model.build(library, model.small) for library in (cr, torch))
    peer.load_state_dict(
        {key: torch.tensor(one.detach().numpy()) for key, one in network.state_dict().items()}
    )
    batch = model.batch(model.small, np.random.default_rng(0))
    ours, theirs = training(cr, model, network, "cpu", False), training(torch, model, peer, "cpu", False)
    for _ in range(4):
        loss = float(ours(*map(cr.from_numpy, batch)))
        assert loss == pytest.approx(float(theirs(*map(torch.from_numpy, batch))), rel=1e-4)


# --- where it cannot write, and where it is stopped ---


def stage_of(check, folder, name):
    file = folder / f"{name}.py"
    file.write_text(HEAD + textwrap.dedent(STAGES[name]))
    return check.Stage(file, 60)


def test_a_report_that_cannot_be_written_stops_nothing(check, tmp_path, capsys, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(check, "write", full)
    report = check.Report(tmp_path / "report.json", gpu="no card", date="today")
    assert check.check([stage_of(check, tmp_path, name) for name in ("right", "last")], report, True) == 0
    said = capsys.readouterr().out
    assert said.count("the report cannot be written ([Errno 28] No space left on device); going on") == 1
    assert states(report.data["stages"]["last"]) == {"good": "right"} and report.failed is not None
    monkeypatch.undo()
    report.stage("last")
    assert report.failed is None and "last" in json.loads(report.path.read_text())["stages"]


def test_a_half_written_file_is_not_left(check, tmp_path):
    from scripts.gpu.items import write

    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "report.md", "\ud800")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named_before_anything_runs(tmp_path, environment):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-P", SCRIPT, "--rehearse", f"--out={tmp_path / 'file'}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and not done.stderr
    assert (
        done.stdout.startswith(f"gpu-check: cannot write to {tmp_path / 'file'} (") and "--out" in done.stdout
    )


def test_a_stage_that_is_stopped_says_so(check, tmp_path, monkeypatch):
    """Ctrl-C, which comes while the script waits for the stage's process."""
    report = check.Report(tmp_path / "report.json", gpu="no card", date="today")
    sleep = check.time.sleep

    def interrupted(seconds):
        sleep(seconds)
        if "hangs" in (tmp_path / "hanging.json").read_text() if (tmp_path / "hanging.json").exists() else "":
            raise KeyboardInterrupt

    monkeypatch.setattr(check.time, "sleep", interrupted)
    until = check.time.monotonic() + 60
    with pytest.raises(KeyboardInterrupt):
        check.run_stage(stage_of(check, tmp_path, "hanging"), report, tmp_path, until, True)
    found = json.loads(report.path.read_text())["stages"]["hanging"]
    assert found["state"] == "stopped" and states(found) == {"good": "right", "hangs": "no time"}


# --- all of it ---


@pytest.mark.slow
def test_the_rehearsal_runs_every_stage_and_workload(tmp_path, environment):
    if emulator.COMPILER is None:
        pytest.skip("g++ is not installed")
    command = [sys.executable, "-P", SCRIPT, "--rehearse", f"--out={tmp_path}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    (path,) = tmp_path.glob("*.json")
    data = json.loads(path.read_text())
    for name, stage in data["stages"].items():
        bad = {
            item: value
            for item, value in stage["items"].items()
            if value["state"] not in ("right", "skipped")
        }
        assert stage["state"] == "ended" and not bad, (name, stage.get("log"), bad)
    assert done.returncode == 0, done.stdout + done.stderr
    from benchmarks.gpu.workloads import WORKLOADS

    items = data["stages"]["workloads"]["items"]
    for name in WORKLOADS:
        assert items[name]["number"] and items[name]["parts"] and not items[name]["errors"], (
            name,
            items[name]["errors"],
        )
        for part, found in items[name]["parts"].items():
            assert {"ours eager"} <= set(found["times"]) and found["floor ms"] is not None, (name, part)
            whole = part not in ("backward", "dgrad", "wgrad", "step, fed")
            assert ("ours graph" in found["times"]) == whole, (name, part)
    checked = data["stages"]["kernels"]["items"]
    for kernel in KERNELS.values():
        assert any(f"{kernel.name} {dtype}" in checked for dtype in kernel.dtypes), kernel.name
    text = path.with_suffix(".md").read_text()
    assert all(f"| {workload.title}: " in text for workload in WORKLOADS.values())
    assert all(f"| {name} | " in text for name in KERNELS)
