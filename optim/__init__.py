"""Optimizers, and in `lr_scheduler` the schedules of their learning rates, under PyTorch's names."""

if not __name__.startswith("chainrule."):
    raise ImportError(
        f"import it as chainrule.optim, not as {__name__}: a second copy of its classes would not mix with the first"
    )

from . import lr_scheduler
from .adadelta import Adadelta
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .adam_variants import Adamax, NAdam, RAdam
from .asgd import ASGD
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .rprop import Rprop
from .sgd import SGD

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
]
