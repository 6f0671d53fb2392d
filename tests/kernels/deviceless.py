"""Real cuDNN plans on a machine without a card or driver: `python -m tests.kernels.deviceless FORMS`, in the environment of `environment`.

Since cuDNN 9.8 plans can be made for a card that is described (`h200.json`) instead of present; the library only wants a libcuda to load, for which
a stub will do. FORMS is a file of (operation, (shapes, formats, window)); each is tried in every layout and dtype, without TF32 too.
What has no plan, or without TF32 one on tensor cores, is printed as a list.
"""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

_STUB = """
int cuGetErrorString(int error, const char** text) { *text = "no driver"; return 0; }
int cuModuleGetFunction() { return 100; }
int cuModuleLoadData() { return 100; }
int cuModuleUnload() { return 100; }
int cuTensorMapEncodeIm2col() { return 100; }
int cuTensorMapEncodeTiled() { return 100; }
"""


def libraries():
    """The folders of cuDNN's and NVRTC's libraries; None if the wheels are not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("cudnn", "nvidia")):
        return None
    roots = [Path(one) for one in importlib.util.find_spec("nvidia").submodule_search_locations]
    found = [
        path.parent
        for root in roots
        for name in ("libcudnn.so.9", "libnvrtc.so.1?")
        for path in root.glob(f"*/lib/{name}")
    ]
    return found if len(found) > 1 else None


def environment(folder, compiler, driver=_STUB):
    """Environment variables for a process that finds the libraries, and in `folder` a stub of the driver, of which `driver` is the C text."""
    stub = Path(folder) / "libcuda.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", stub], input=driver, text=True, check=True
    )
    return os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, (folder, *libraries())))}


class Described:
    """The frontend's module, with graphs made for a card that is described."""

    def __init__(self):
        import cudnn

        self._cudnn = cudnn
        text = (Path(__file__).parent / "h200.json").read_text()
        self._card = cudnn.create_device_properties(text)

    def __getattr__(self, name):
        return getattr(self._cudnn, name)

    def create_handle(self):
        return None

    def pygraph(self, handle, **options):
        return self._cudnn.pygraph(device_property=self._card, sm_count=132, sm_version=900, **options)


class Nowhere:
    """A runtime for plans that are made and not run."""

    def device(self):
        return 0

    def capturing(self):
        return False


# Which of the inputs and the output are channels_last: what `conv` asks for.
_FORMATS = {
    "conv": [(False, False, False), (True, False, True), (True, True, True)],
    "conv_input": [(False, False, False), (True, False, True), (True, True, True)],
    "conv_weight": [(False, False, False), (True, True, False)],
}


def check(path):
    """The forms for which something is wrong, as texts, and how many plans were made."""
    from chainrule.backends import precision_settings
    from chainrule.backends.cudnn import conv, plans

    cudnn = Described()
    made = plans.Plans(Nowhere(), lambda: cudnn)
    assert made.usable(), made.why_not()
    wrong, count = [], 0
    forms = {
        (name, repr((shapes, window))): (shapes, window)
        for name, (shapes, _, window) in json.loads(Path(path).read_text())
    }
    for (name, _), (shapes, window) in forms.items():
        for formats, dtype in itertools.product(_FORMATS[name], plans.TYPES):
            form = conv.Form(name, shapes, formats, formats, window, dtype)
            for tf32 in (True, False) if dtype == "float32" else (True,):
                with precision_settings.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
                    plan = made.find(name, form, form.describe, dtype)
                with precision_settings.cudnn.flags(enabled=True, deterministic=True, allow_tf32=tf32):
                    fixed = made.find(name, form, form.describe, dtype)
                count += 2
                if plan is None or fixed is None:
                    wrong.append(f"{name} {form} {formats} {tf32}: {list(made.refused.values())[-1]}")
                elif not tf32 and _on_tensor_cores(cudnn, form.describe, plan.choices):
                    wrong.append(f"{name} {form} {formats}: tensor cores without TF32")
    return wrong, count


def _on_tensor_cores(cudnn, describe, choices):
    """Whether any of these plans is among those that use tensor cores."""
    full = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(handle=None, io_data_type=full, intermediate_data_type=full, compute_data_type=full)
    describe(cudnn, graph)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.B, cudnn.heur_mode.FALLBACK])
    graph.select_numeric_notes([cudnn.numerical_note.TENSOR_CORE])
    for index in choices:
        try:
            graph.build_plan_at_index(index)
        except cudnn.cudnnGraphNotSupportedError:
            continue
        return True
    return False


if __name__ == "__main__":
    wrong, count = check(sys.argv[1])
    print(json.dumps({"plans": count, "wrong": wrong}))
