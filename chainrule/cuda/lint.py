"""What a training step does that a captured graph would not repeat, found on any machine."""

from chainrule.backends import devices
from chainrule.backends.capturing import Finding

from .step import GraphedStep, others, without_others


class Findings(list):
    """What `check_step` found: a list of `Finding`s (kind, what, line, instead), empty and so false if the step can be captured."""

    def __str__(self):
        return "\n".join(f"{number}. {one}" for number, one in enumerate(self, 1)) or "nothing found"

    __repr__ = __str__


def check_step(step, *args, warmup=2, generators=()):
    """Everything that `step(*args)` does and a captured graph would not repeat, as a list with the lines where it does it.

        model = Net().to("fake")             # the stand-in for a card: no card is needed
        ...
        print(cr.cuda.check_step(step, x, y))

    step: as for `make_graphed_step`, with the model, and all Tensors it uses, on the device "fake"; args are copied there. It is called
    `warmup` times as it is, then captured, so these are steps of training.
    """
    if not callable(step):
        raise TypeError(f"cuda.check_step: expected a function, got {type(step).__name__}")
    if not isinstance(warmup, int) or warmup < 1:
        raise ValueError(f"cuda.check_step: warmup must be an integer of at least 1, got {warmup!r}")
    findings = Findings()

    def checked(*args):
        result = step(*args)
        for one in others(result):
            what = f"the step returns a {type(one).__name__}"
            found = Finding(
                "output", what, "?", "return Tensors, and compute with their values after the step"
            )
            if found not in findings:
                findings.append(found)
        return without_others(result)

    graphed = GraphedStep(checked, warmup, devices.device("fake"), 1, generators)
    graphed._runner.findings = findings
    for _ in range(warmup):
        graphed(*args)
    try:
        graphed(*args)
    except Exception as error:
        findings.append(Finding("error", f"{type(error).__name__}: {error}", "?", "see the line it names"))
    return findings
