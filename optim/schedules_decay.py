"""Learning rates that fall by the formulas of stochastic approximation, t = 0, 1, 2, ... being the number of the epoch.

For convergence the rates must sum to infinity and their squares must not (Robbins & Monro 1951): (beta + t)^-p does for
1/2 < p <= 1. eta_0 is the optimizer's rate when the schedule is made.
"""

import math

from .schedules import _FactorLR


def _check_at_least_0(scheduler, **values):
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{type(scheduler).__name__}: {name} must be at least 0, got {value}")


class InverseTimeLR(_FactorLR):
    """eta_t = eta_0 / (1 + decay t)."""

    def __init__(self, optimizer, decay=1.0, last_epoch=-1):
        _check_at_least_0(self, decay=decay)
        self.decay = decay
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return 1 / (1 + self.decay * epoch)


class InverseSqrtLR(_FactorLR):
    """eta_t = k eta_0 / sqrt(t + 1): with epochs counted from 1, k eta_0 / sqrt(epoch).

    Zinkevich 2003, "Online convex programming and generalized infinitesimal gradient ascent".
    """

    def __init__(self, optimizer, k=1.0, last_epoch=-1):
        _check_at_least_0(self, k=k)
        self.k = k
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return self.k / math.sqrt(epoch + 1)


class PowerLR(_FactorLR):
    """eta_t = alpha / (beta + t)^power, alpha being eta_0.

    Bottou 2012, "Stochastic gradient descent tricks", uses 3/4 for averaged SGD; 1/2 and 1 are the classical ends.
    """

    def __init__(self, optimizer, beta=1.0, power=1.0, last_epoch=-1):
        if not beta > 0:
            raise ValueError(f"PowerLR: beta must be above 0, got {beta}")
        _check_at_least_0(self, power=power)
        self.beta = beta
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return (self.beta + epoch) ** -self.power


class NaturalExponentialLR(_FactorLR):
    """eta_t = eta_0 exp(-beta t): `ExponentialLR` with gamma = exp(-beta). Its sum is finite: far minima are not reached."""

    def __init__(self, optimizer, beta, last_epoch=-1):
        _check_at_least_0(self, beta=beta)
        self.beta = beta
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return math.exp(-self.beta * epoch)
