"""The twenty workloads of `benchmarks/gpu/workloads.py`: ours and PyTorch's, as they are and captured, in turn, over the same memory.

Of each part: the median time of a call, the time of the floor (the least it must move or compute, at the ceilings measured in the
first stage), the most memory a call takes, and the kernels it runs.
"""

import time

import chainrule as cr
from benchmarks.gpu.workloads import WORKLOADS, Inputs

from .items import Skipped

LIMIT = 40.0
COMPILED = ("mlp", "gpt")  # torch.compile takes tens of seconds for a model
LIMITS = {f"compiled {name}": 90.0 for name in COMPILED}
MOST_SETS = 4
# Those first that tell most, in case the time runs out.
ORDER = """product mlp gpt resnet softmax layer_norm cross_entropy conv3x3 attention adamw gelu linear_gelu dropout lstm chain cifar
    conv1x1 conv3x3_deep stem embedding gru""".split()


def floor(part, ceilings):
    """(milliseconds, what bounds) of the least a part must do; None without ceilings."""
    copy, rate = ceilings.get("copy"), ceilings.get(part.kind)
    if not copy or not rate:
        return None, None
    memory, arithmetic = part.moved / copy * 1e3, part.flops / rate * 1e3
    return max(memory, arithmetic), "memory" if memory > arithmetic else "arithmetic"


def difference(place, ours, theirs):
    """|ours - theirs| / |theirs| of two results; None where they are not Tensors."""
    if isinstance(ours, (tuple, list)):
        ours, theirs = ours[0], theirs[0]
    if not isinstance(ours, cr.Tensor):
        return None
    ours, theirs = place.to_torch(ours.detach()).float(), theirs.detach().float()
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-30))


def name_of(library, how):
    return f"{'torch' if library.__name__ == 'torch' else 'ours'} {how}"


class Measured:
    """One workload: its parts by library and by set of inputs, what is called, and what was found."""

    def __init__(self, place, workload, ceilings, note):
        self.place, self.workload, self.ceilings, self.note = place, workload, ceilings, note
        self.parts, self.errors = {}, {}

    def guarded(self, what, function):
        """The function's result; None where it fails, which is noted."""
        try:
            return function()
        except Exception as error:
            self.errors[what] = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            self.note(errors=self.errors)

    def build(self):
        """All parts of both libraries, for as many sets of inputs as the card's cache is too small for."""
        place, l2 = self.place, self.ceilings.get("l2") or 0
        for library in place.peers():
            made = self.guarded(
                name_of(library, "made"),
                lambda lib=library: [self.workload(Inputs(place, lib, self.kept(0)))],
            )
            if made is None and library is cr:
                raise RuntimeError(self.errors["ours made"])
            if made is None:
                continue
            moved = max(part.moved for part in made[0].values())
            sets = (
                1
                if self.workload.once
                else min(MOST_SETS, 1 + int(3 * l2 // max(moved, 1)))
                if place.full
                else 2
            )
            for k in range(1, sets):
                made.append(self.workload(Inputs(place, library, self.kept(k), seed=k)))
            self.parts[library] = made

    _kept = ()

    def kept(self, k):
        """What libraries share of the k-th set of inputs."""
        if k == len(self._kept):
            self._kept = [*self._kept, {}]
        return self._kept[k]

    def captured(self, library, part):
        """The part of every set of inputs as a graph."""
        place = self.place
        if library is cr:
            graphs = []
            for parts in self.parts[library]:
                step = place.captured(parts[part].run)
                for _ in range(5):  # three without a graph, the capture, a replay
                    step()
                graphs.append(step)
        else:
            graphs = [place.captured_by_torch(parts[part].run) for parts in self.parts[library]]
        return lambda i: graphs[i % len(graphs)]()

    def part(self, name):
        """Measure one part by every variant."""
        place, about = self.place, self.parts[cr][0][name]
        calls, found = {}, {}
        bound, by = floor(about, self.ceilings)
        for library, made in self.parts.items():
            runs = [parts[name].run for parts in made]
            calls[name_of(library, "eager")] = lambda i, runs=runs: runs[i % len(runs)]()
        if about.whole:
            for library in list(self.parts):
                variant = name_of(library, "graph")
                graph = self.guarded(f"{name}, {variant}", lambda lib=library: self.captured(lib, name))
                if graph:
                    calls[variant] = graph
        good = {}
        for variant, call in calls.items():  # what fails is left out before times are taken in turn
            if self.guarded(f"{name}, {variant}", lambda call=call: (call(0), place.synchronize(), True)[-1]):
                good[variant] = call
        if good:
            found["times"] = (
                self.guarded(
                    f"{name}, times",
                    lambda: place.interleaved(good, rounds=5, aim=place.size(10.0, 2.0), most=1500.0),
                )
                or {}
            )
        found |= {"floor ms": bound, "bound by": by}
        for library in self.parts:
            found |= self.costs(name, library, good.get(name_of(library, "eager")))
        if "ours eager" in good:
            found["ours eager launches"] = self.guarded(
                f"{name}, launches", lambda: place.launches(good["ours eager"])
            )
        return found

    def costs(self, name, library, call):
        """The memory and the kernels of a call."""
        if call is None:
            return {}
        place, eager = self.place, name_of(library, "eager")
        return {
            f"{eager} peak": self.guarded(f"{name}, {eager} peak", lambda: place.peak(library, call)),
            f"{eager} kernels": self.guarded(f"{name}, {eager} kernels", lambda: place.kernels_run(call)),
        }

    def run(self):
        """Everything, noted part by part."""
        self.build()
        parts, sets = {}, len(self.parts[cr])
        first = next(iter(self.parts[cr][0]))
        values = {"number": self.workload.number, "title": self.workload.title, "sets": sets}
        if len(self.parts) == 2 and self.workload.number != 6:  # two dropouts drop other elements
            both = [made[0][first].run for made in self.parts.values()]
            values["difference"] = self.guarded(
                "difference", lambda: difference(self.place, both[0](), both[1]())
            )
        self.note(**values)
        for name in self.parts[cr][0]:
            parts[name] = self.part(name)
            self.note(parts=parts)
        return {**values, "parts": parts, "errors": self.errors}


def compiled(place, name, ceilings):
    """PyTorch's compiler on the network of a training step."""
    torch = place.torch
    if torch is None:
        raise Skipped(f"PyTorch is not there: {place.why_no_torch}")
    from benchmarks.gpu.models import training

    run = WORKLOADS[name](Inputs(place, torch, {}))["step"].run
    start = time.monotonic()
    if not place.full:
        network = run.network  # the compiler needs a C++ compiler and minutes
    else:
        network = torch.compile(run.network)
    step = training(torch, run.model, network, place.peer)
    call = lambda i: step(run.inputs, run.targets)
    call(0), call(1)
    place.synchronize()
    seconds = time.monotonic() - start
    return {
        "model": name,
        "compiling": seconds,
        **place.interleaved({"torch compile": call}, aim=10.0, most=1500.0)["torch compile"],
    }


def items(place, context):
    """All workloads, then the compiled models."""
    place.bring_torch()
    kinds = {"copy": "copies", "bf16": "bf16", "tf32": "tf32", "fp32": "fp32"}
    ceilings = {kind: context.value("versions", item, "ceiling") for kind, item in kinds.items()}
    ceilings["l2"] = context.value("versions", "card", "l2", 0)

    def measure(name):
        note = lambda **values: context.part.put(
            name, **values
        )  # for when the process does not come to the end
        return Measured(place, WORKLOADS[name], ceilings, note).run()

    assert set(ORDER) == set(WORKLOADS)
    found = {name: lambda n=name: measure(n) for name in ORDER}
    return found | {f"compiled {name}": lambda n=name: compiled(place, n, ceilings) for name in COMPILED}
