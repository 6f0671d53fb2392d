"""Derivatives of random programs: 5 to 15 operations over several shapes, first and second order.

A program is a list of steps in NumPy's vocabulary, so NumPy itself can run it: at complex inputs x + ihv, whose imaginary part
gives the derivative along v to the last digits (complex step), or, where a step has kinks, at x + hv and x - hv. The second
derivative is compared with differences of the first.
"""

import numpy as np
import pytest

import chainrule as cr
import chainrule.numpy as cnp

# Each step maps arrays to an array of moderate size; `t` is any array so far, the others are made to fit.
ELEMENTWISE = [
    lambda m, t: m.sin(t), lambda m, t: m.tanh(t), lambda m, t: m.exp(-0.3 * t * t), lambda m, t: m.log(2.5 + m.cos(t)),
    lambda m, t: m.sqrt(1.2 + m.sin(t)), lambda m, t: t / (1 + t * t), lambda m, t: m.arctan(t), lambda m, t: m.sinh(0.3 * m.sin(t)),
    lambda m, t: m.log1p(0.5 * m.cos(t)), lambda m, t: m.expm1(0.2 * m.cos(t)), lambda m, t: m.square(m.sin(t)), lambda m, t: 1.5 - 0.5 * t,
    lambda m, t: m.power(1.5 + m.sin(t), 2.5), lambda m, t: m.reciprocal(2 + m.tanh(t)), lambda m, t: m.arcsinh(t), lambda m, t: m.cosh(0.2 * m.sin(t)),
    lambda m, t: m.arcsin(0.5 * m.sin(t)), lambda m, t: m.negative(t), lambda m, t: m.exp2(0.1 * m.sin(t)), lambda m, t: m.arctanh(0.4 * m.cos(t)),
]  # fmt: skip
PAIRWISE = [
    lambda m, t, u: t + u, lambda m, t, u: t - 0.7 * u, lambda m, t, u: m.sin(t) * u, lambda m, t, u: t / (1.5 + m.cos(u)),
    lambda m, t, u: m.power(1.5 + m.sin(t), m.cos(u)), lambda m, t, u: m.stack([t, u], axis=0), lambda m, t, u: m.concatenate([u, t], axis=-1),
]  # fmt: skip
SHAPES = [
    lambda m, t: m.sum(t, axis=0), lambda m, t: m.mean(t, axis=-1, keepdims=True) + 0 * t, lambda m, t: m.swapaxes(t, 0, -1), lambda m, t: m.flip(t, 0),
    lambda m, t: m.reshape(t, (-1,)), lambda m, t: m.roll(t, 1, axis=-1), lambda m, t: m.cumsum(t, axis=0) * 0.5, lambda m, t: m.expand_dims(t, 0),
    lambda m, t: m.tile(t, 2), lambda m, t: t[..., ::2], lambda m, t: t[0], lambda m, t: m.pad(t, 1), lambda m, t: m.repeat(t, 2, axis=0),
    lambda m, t: m.diff(t, axis=-1) if t.shape[-1] > 1 else t, lambda m, t: t - m.mean(t), lambda m, t: m.prod(1 + 0.1 * m.sin(t), axis=0),
    lambda m, t: m.take(t, [0, -1, 0], axis=0), lambda m, t: m.cumprod(1 + 0.2 * m.cos(t), axis=-1), lambda m, t: m.squeeze(m.sin(t)),
    lambda m, t: m.tril(t) if t.ndim > 1 else t, lambda m, t: m.exp(t - 2.0) / m.sum(m.exp(t - 2.0), axis=-1, keepdims=True),
    lambda m, t: m.matmul(t, m.swapaxes(t, -1, -2)) * 0.2 if t.ndim > 1 else m.outer(t, t) * 0.2, lambda m, t: m.einsum("...i,...i->...", t, m.sin(t)),
    lambda m, t: m.where(np.arange(t.shape[-1]) % 2 == 0, t, m.sin(t)), lambda m, t: m.moveaxis(t, 0, -1), lambda m, t: m.trace(t) if t.ndim == 2 else t,
]  # fmt: skip
KINKED = [
    lambda m, t: m.abs(t), lambda m, t: m.maximum(t, 0.1), lambda m, t: m.minimum(t, m.sin(3 * t)), lambda m, t: m.sort(t, axis=-1), lambda m, t: m.max(t, axis=0),
    lambda m, t: m.clip(t, -0.6, 0.8), lambda m, t: m.where(t > 0, t, 0.1 * t), lambda m, t: m.min(t, axis=-1, keepdims=True) * t, lambda m, t: m.median(t, axis=0),
    lambda m, t: m.sqrt(m.var(t, axis=0) + 0.1), lambda m, t: m.linalg.norm(t + 0.1), lambda m, t: m.hypot(t, 1.0), lambda m, t: m.logaddexp(t, 0.3), lambda m, t: m.arctan2(t, 2.0),
]  # fmt: skip


class Program:
    """A random program and its inputs."""

    def __init__(self, seed, kinks):
        rng = np.random.default_rng(seed)
        shapes = [(3,), (2, 3), (4, 3), (3, 3), (2, 2, 3), (1, 3), (5,), (2, 4)]
        self.inputs = [
            rng.uniform(-1.5, 1.5, shapes[i])
            for i in rng.choice(len(shapes), rng.integers(1, 4), replace=False)
        ]
        self.directions = [rng.standard_normal(x.shape) for x in self.inputs]
        self.steps = []
        values = list(self.inputs)
        length = rng.integers(5, 16)
        for _ in range(1000):
            if len(self.steps) == length:
                break
            kind = rng.choice(4, p=[0.35, 0.2, 0.35, 0.1] if kinks else [0.4, 0.25, 0.35, 0.0])
            table = (ELEMENTWISE, PAIRWISE, SHAPES, KINKED)[kind]
            function = table[rng.integers(len(table))]
            # The newest value nearly always takes part, so that programs are deep.
            operands = [len(values) - 1 if rng.random() < 0.8 else int(rng.integers(len(values)))]
            if kind == 1:
                operands.append(int(rng.integers(len(values))))
            try:
                with np.errstate(all="ignore"):
                    value = function(np, *(values[i] for i in operands))
            except (ValueError, IndexError):
                continue  # shapes that do not meet, or no axis left
            if value.ndim == 0 or 0 in value.shape or value.size > 200 or not np.isfinite(value).all():
                continue
            if np.abs(value).max() > 10:
                continue
            self.steps.append((function, operands))
            values.append(value)
        assert len(self.steps) == length

    def __call__(self, library, inputs):
        values = list(inputs)
        for function, operands in self.steps:
            values.append(function(library, *(values[i] for i in operands)))
        total = 0.0
        for value in values[len(inputs) :]:
            weights = np.cos(1.0 + np.arange(np.prod(value.shape))).reshape(value.shape)
            total = total + (value * (cr.tensor(weights) if library is cnp else weights)).sum()
        return total

    def leaves(self, shift=0.0):
        return [
            cr.tensor(x + shift * v, requires_grad=True)
            for x, v in zip(self.inputs, self.directions, strict=True)
        ]

    def slope(self, leaves, create_graph=False):
        """The derivative along the direction: a 0-d Tensor."""
        grads = cr.autograd.grad(self(cnp, leaves), leaves, create_graph=create_graph, materialize_grads=True)
        return sum((g * cr.tensor(v)).sum() for g, v in zip(grads, self.directions, strict=True))

    def numpy_at(self, step):
        with np.errstate(all="ignore"):
            return self(np, [x + step * v for x, v in zip(self.inputs, self.directions, strict=True)])


def errors(seed, kinks):
    """(relative error of the value, the first, the second derivative) of one program."""
    program = Program(seed, kinks)
    leaves = program.leaves()
    value = program(cnp, leaves).item()
    plain = program.numpy_at(0.0)
    first = program.slope(leaves, create_graph=True)
    if kinks:
        h = 1e-4  # Richardson: two differences whose errors of order h^2 cancel
        fine, coarse = ((program.numpy_at(s) - program.numpy_at(-s)) / (2 * s) for s in (h / 2, h))
        expected = (4 * fine - coarse) / 3
    else:
        expected = program.numpy_at(1e-30j).imag / 1e-30
    second = 0.0
    if first.requires_grad:
        grads = cr.autograd.grad(first, leaves, materialize_grads=True)
        second = sum((g.numpy() * v).sum() for g, v in zip(grads, program.directions, strict=True))
    h = 1e-4
    fine, coarse = (
        (program.slope(program.leaves(s)).item() - program.slope(program.leaves(-s)).item()) / (2 * s)
        for s in (h / 2, h)
    )
    curvature = (4 * fine - coarse) / 3

    def relative(found, want):
        return abs(found - want) / max(1.0, abs(want))

    return relative(value, plain), relative(first.item(), expected), relative(second, curvature)


def worst(seeds, kinks):
    return np.max([errors(seed, kinks) for seed in seeds], axis=0)


def test_random_programs():
    value, first, second = worst(range(50), kinks=False)
    assert value < 1e-12 and first < 1e-9 and second < 1e-6


def test_random_programs_with_kinks():
    value, first, second = worst(range(1000, 1020), kinks=True)
    assert value < 1e-12 and first < 1e-7 and second < 1e-6


@pytest.mark.slow
def test_a_thousand_random_programs():
    value, first, second = worst(range(1000), kinks=False)
    assert value < 1e-12 and first < 1e-9 and second < 1e-6
    value, first, second = worst(range(1000, 1300), kinks=True)
    assert value < 1e-12 and first < 1e-7 and second < 1e-6
