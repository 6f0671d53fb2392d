"""Optimizers, and in `lr_scheduler` the schedules of their learning rates, under PyTorch's names.

Besides PyTorch's: the classical minimisers Newton, NewtonCG, BFGS and ConjugateGradient; in `variants` other forms of the
methods; in `additions` penalties, noise and projections for any of them; IterateAverage.
"""

if not __name__.startswith("chainrule."):
    raise ImportError(
        f"import it as chainrule.optim, not as {__name__}: a second copy of its classes would not mix with the first"
    )

from chainrule.backends.later import load_later

from . import lr_scheduler
from .adadelta import Adadelta
from .adafactor import Adafactor
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .adam_variants import Adamax, NAdam, RAdam
from .asgd import ASGD
from .lbfgs import LBFGS
from .muon import Muon
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .rprop import Rprop
from .sgd import SGD
from .sparse_adam import SparseAdam

# Loaded when first used: what fewer scripts need.
_later = {
    "BFGS": "chainrule.optim.conjugate_gradient:BFGS",
    "ConjugateGradient": "chainrule.optim.conjugate_gradient:ConjugateGradient",
    "IterateAverage": "chainrule.optim.averages:IterateAverage",
    "Newton": "chainrule.optim.newton:Newton",
    "NewtonCG": "chainrule.optim.newton:NewtonCG",
    "additions": "chainrule.optim.additions",
    "swa_utils": "chainrule.optim.swa_utils",
    "variants": "chainrule.optim.variants",
}
__getattr__, __dir__ = load_later(globals(), _later)

__all__ = [
    "ASGD",
    "BFGS",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ConjugateGradient",
    "IterateAverage",
    "Muon",
    "NAdam",
    "Newton",
    "NewtonCG",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
    "additions",
    "lr_scheduler",
    "swa_utils",
    "variants",
]
