"""Other forms of the methods, as papers and textbooks write them; each is a small class of its own.

`optim.SGD`, `optim.Adam` and so on are PyTorch's forms. The differences matter when a formula is to be followed step by
step: where a running mean begins, what is corrected, where eps stands.
"""

from .variants_adaptive import (
    AdamEpsInRoot,
    BiasedAdam,
    ConstantNAdam,
    MeanAdagrad,
    NormAdagrad,
    RMSpropFromFirst,
    WindowAdagrad,
)
from .variants_momentum import AveragedMomentum, GradientPlusMemory, LookAheadNesterov

__all__ = [
    "AdamEpsInRoot",
    "AveragedMomentum",
    "BiasedAdam",
    "ConstantNAdam",
    "GradientPlusMemory",
    "LookAheadNesterov",
    "MeanAdagrad",
    "NormAdagrad",
    "RMSpropFromFirst",
    "WindowAdagrad",
]
