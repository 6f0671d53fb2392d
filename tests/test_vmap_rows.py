"""Every row of the operation table inside `vmap`: three different inputs at once against a loop over them, values and gradients."""

import dataclasses

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.tensor import Tensor
from chainrule.backends.batched import DataDependent
from tests.test_ops import EVERY, floats, host, leaves, outputs, tensors, weighted

COUNT = 3


def seeded(row, *inputs):
    cr.manual_seed(7)
    return tuple(outputs(row.function(*inputs, **row.kwargs)))


def parts(value):
    """The Tensors of one input: a list of them or one."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Tensor)]


def prepared(row, shared):
    """(the inputs of each sample, the batch, in_dims). shared: integer and bool inputs are the same for all samples."""
    each = [
        tensors(dataclasses.replace(row, tag=f"{row.tag}-{i}"), requires_grad=row.grad) for i in range(COUNT)
    ]
    batch, dims = [], []
    for i, column in enumerate(zip(*each, strict=True)):
        if not parts(column[0]) or (shared and not floats(parts(column[0]))):
            for inputs in each:
                inputs[i] = column[0]
            batch.append(column[0])
            dims.append(None)
            continue
        made = [
            cr.stack([one.detach() for one in same]).requires_grad_(same[0].requires_grad)
            for same in zip(*map(parts, column), strict=True)
        ]
        batch.append(made if isinstance(column[0], list) else made[0])
        dims.append(0)
    return each, batch, tuple(dims)


def batched(row, batch, dims):
    return cr.vmap(lambda *xs: seeded(row, *xs), dims, randomness="same")(*batch)


def backward(*results):
    """Weighted gradients of each sample's outputs."""
    if any(one.requires_grad for result in results for one in floats(result)):
        sum(weighted(result) for result in results if floats(result)).backward()


@EVERY
@pytest.mark.filterwarnings("ignore:vmap. there is no batching rule:UserWarning")
def test_vmap_is_a_loop(row):
    each, batch, dims = prepared(row, False)
    if set(dims) == {None}:
        pytest.skip("no input to batch")
    try:
        got = batched(row, batch, dims)
    except RuntimeError:
        # Where integers or masks decide on the shape, samples must share them.
        each, batch, dims = prepared(row, True)
        if set(dims) == {None}:
            pytest.skip("its shape depends on the values")
        try:
            got = batched(row, batch, dims)
        except RuntimeError as error:
            assert row.id in REFUSED or (not row.grad and isinstance(error, DataDependent)), error
            pytest.skip("Python needs the values")
    want = [seeded(row, *inputs) for inputs in each]
    for i, one in enumerate(got):
        for k in range(COUNT):
            np.testing.assert_allclose(host(one)[k], host(want[k][i]), rtol=1e-9, atol=1e-9)
            assert one.dtype is want[k][i].dtype
    if not row.grad:
        return
    backward(*(tuple(one[k] for one in got) for k in range(COUNT)))
    backward(*want)
    for x, column in zip(leaves(batch), zip(*map(leaves, each), strict=True), strict=True):
        for k, one in enumerate(column):
            assert (x.grad is None) == (one.grad is None)
            if x.grad is not None:
                np.testing.assert_allclose(host(x.grad)[k], host(one.grad), rtol=1e-7, atol=1e-8)


# The shape of the result depends on the values; or memory is written through a view by strides.
REFUSED = {"unique_consecutive", "setitem-strided"}
