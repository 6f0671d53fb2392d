"""Invalid calls: every operation, layer and optimizer with arguments it cannot take. Each is refused, by an error of one of five
classes that says which operation it was and what it was given; nothing gives a silent result."""

import re
import traceback
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn.functional import recurrent
from tests.layer_table import LAYERS
from tests.test_float32_error import _target
from tests.test_ops import EVERY, ROWS, host, tensors

CLEAN = (TypeError, ValueError, IndexError, RuntimeError, NotImplementedError)
SPEAKING = re.compile(r"^[\w.]+(\[[^\]]*\])?(\([^)]*\))?( \w+)?:? ")
OFFENDING = re.compile(r"\(\d*,? ?|\d|float|int|bool|complex|str|object|None|list|dtype")


def answer(call):
    """What a call gave: a value or an error."""
    try:
        return call()
    except Exception as error:
        return error


def check(error):
    """A clean class, and a message of more than a word."""
    assert isinstance(error, CLEAN), f"{type(error).__name__}: {error}"
    assert not isinstance(
        error, (KeyError, AssertionError, AttributeError, ZeroDivisionError, OverflowError)
    ), repr(error)
    assert len(str(error)) > 12, repr(error)


def speaks(error, names):
    """Whether the message names the operation and what is wrong with its input."""
    text = str(error)
    named = any(name in text for name in names) or bool(SPEAKING.match(text))
    return named and bool(OFFENDING.search(text))


def names_of(row):
    last = row.name.split(".")[-1]
    return {last, last.removesuffix("_")}


def wrong_types(row):
    """Calls with each input in turn replaced by what no operation takes."""
    for value in ("text", object()):
        for place, flag in enumerate(row.differentiable()):
            if flag:
                inputs = tensors(row)
                if isinstance(inputs[place], list):
                    inputs[place] = [*inputs[place][1:], value]
                else:
                    inputs[place] = value
                yield inputs


def from_the_row(error):
    """Whether the row itself, and no code of the library, asked a string for a method: `lambda x: x.reshape(...)`."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, AttributeError) and "tests" in Path(last.filename).parts


@EVERY
def test_what_is_no_tensor_is_refused(row):
    for inputs in wrong_types(row):
        error = answer(lambda inputs=inputs: row.function(*inputs, **row.kwargs))
        assert isinstance(error, Exception), f"a silent result: {error!r}"
        if not from_the_row(error):
            check(error)


def wrong_shapes_and_dtypes(row):
    """The row's arrays with one input of another shape or dtype."""
    arrays = row.arrays()
    for place, flag in enumerate(row.differentiable()):
        array = arrays[place]
        if not flag or isinstance(array, list):
            continue
        others = [
            np.ones((*array.shape, 7)),
            np.ones((13, 11)),
            np.ones((2,) * 6),
            array.astype(complex),
            np.nan_to_num(array, posinf=9, neginf=-9).astype(np.int64),
            array > 0,
        ]
        if array.ndim:
            others.append(np.concatenate([array, array], axis=-1))
            others.append(array[..., 0])
        for other in others:
            yield [*arrays[:place], other, *arrays[place + 1 :]]


def compare(row, torch):
    """(silent results, unclean errors, clean errors) where PyTorch refuses."""
    function = _target(torch, row)
    kwargs = {n: torch.tensor(host(v)) if isinstance(v, cr.Tensor) else v for n, v in row.kwargs.items()}
    silent, errors = [], []
    for arrays in wrong_shapes_and_dtypes(row):

        def made(library, arrays=arrays):
            return [
                library.tensor(one) if isinstance(one, np.ndarray)
                else [library.tensor(p) for p in one] if isinstance(one, list) and one and isinstance(one[0], np.ndarray)
                else one for one in arrays
            ]  # fmt: skip

        theirs = answer(lambda made=made: function(*made(torch), **kwargs))
        if not isinstance(theirs, Exception):
            continue
        ours = answer(lambda made=made: row.function(*made(cr), **row.kwargs))
        described = ", ".join(
            f"{one.shape} {one.dtype}" if isinstance(one, np.ndarray) else repr(one) for one in arrays
        )
        if isinstance(ours, Exception):
            errors.append((ours, described))
        else:
            silent.append(f"{row.id}({described}); PyTorch: {str(theirs)[:80]}")
    return silent, errors


def collect(torch):
    silent, errors = [], []
    for row in ROWS:
        if row.name in ("embedding_bag", "pdist"):
            continue  # PyTorch crashes on some of these calls
        try:
            some, more = compare(row, torch)
        except pytest.skip.Exception:
            continue
        silent += some
        errors += [(row, error, described) for error, described in more]
    return silent, errors


# PyTorch also refuses dtypes for which it has no kernel, and mixed ones where it does not promote: those calls are counted and not
# required to fail, for promotion gives them a meaning.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_pytorch_refuses_is_refused_clearly(torch):
    silent, errors = collect(torch)
    assert len(errors) > 1000 and len(errors) > 5 * len(silent)
    unclean = [
        f"{row.id}({described}): {error!r}"
        for row, error, described in errors
        if not isinstance(error, CLEAN)
    ]
    assert len(unclean) <= 0.005 * len(errors), unclean
    speaking = sum(speaks(error, names_of(row)) for row, error, _ in errors)
    print(
        f"\n  {len(errors)} refused, {len(silent)} answered, {len(unclean)} unclean, {speaking} messages speak",
        end="",
    )
    assert speaking >= 0.99 * len(errors)


# Single calls

Z = cr.tensor([1 + 1j], dtype=cr.complex128)
CELL = (cr.ones(2, 3), cr.ones(2, 4))
SPEECHES = [
    *((f, f"^{f.__name__}: expected a real tensor, got complex128", (Z,)) for f in (cr.erf, cr.erfc, cr.special.erfcx, cr.special.ndtr)),
    (cr.special.erfcx, "^erfcx: expected a real tensor, got complex64", (Z.to(cr.complex64),)),
    (cr.erfinv, "^erfinv: expected a real tensor, got complex128", (Z,)),
    (cr.floor, "^floor: expected a real tensor, got complex128", (Z,)),
    (cr.positive, "^positive: not defined for bool", (cr.tensor([True]),)),
    (recurrent.rnn_tanh_cell, r"^rnn_tanh_cell: expected weights that are matrices, got shape \(4,\)", (*CELL, cr.ones(4, 3), cr.ones(4))),
    (recurrent.gru_cell, r"^gru_cell: expected weights that are matrices, got shape \(\)", (*CELL, cr.ones(()), cr.ones(12, 4))),
    (recurrent.gru_cell, r"^gru_cell: expected biases of shape \(12,\), got \(\)", (*CELL, cr.ones(12, 3), cr.ones(12, 4), cr.ones(12), cr.ones(()))),
    (cr.scatter_reduce, "^scatter_reduce: index has 1 dimensions, input 2", (cr.ones(2, 3), 0, cr.tensor([0]), cr.ones(1), "sum")),
    (nn.functional.one_hot, "^one_hot: num_classes must be an int, got 2.5", (cr.tensor([1]), 2.5)),
    (cr.diag_embed, "^diag_embed: expected at least 1 dimension", (cr.ones(()),)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "message", "arguments"), SPEECHES, ids=[str(i) for i in range(len(SPEECHES))]
)
def test_what_is_wrong_is_said(function, message, arguments):
    with pytest.raises(CLEAN, match=message):
        function(*arguments)


# Layers and optimizers


@pytest.mark.parametrize("layer", LAYERS, ids=lambda one: one.make)
def test_layers_refuse_what_is_no_tensor(layer):
    module = eval(layer.make, {"nn": nn, "cr": cr})
    if layer.name == "Identity":
        return  # takes anything, as in PyTorch
    for value in ("text", 3.5):
        inputs = [cr.tensor(one) if isinstance(one, np.ndarray) else one for one in layer.arrays()]
        error = answer(lambda inputs=inputs, value=value: module(value, *inputs[1:], **layer.keywords))
        assert isinstance(error, Exception), f"a silent result: {error!r}"
        check(error)


BAD_LAYERS = [
    (lambda: nn.Linear(3, 4)(cr.ones(2, 5)), r"linear.*\(2, 5\)"),
    (lambda: nn.Linear(3, 4)(cr.ones(2, 3, dtype=cr.float64)), "float"),
    (lambda: nn.Conv2d(2, 4, 3)(cr.ones(1, 3, 8, 8)), r"conv2d.*\(1, 3, 8, 8\)"),
    (lambda: nn.Conv2d(2, 4, 3)(cr.ones(2, 8)), "conv2d"),
    (lambda: nn.Conv2d(2, 4, 9)(cr.ones(1, 2, 4, 4)), "conv2d"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "divisible|groups"),
    (lambda: nn.BatchNorm1d(3)(cr.ones(2, 4)), "3"),
    (lambda: nn.LayerNorm(4)(cr.ones(2, 3)), r"\(2, 3\)|4"),
    (lambda: nn.Embedding(3, 2)(cr.tensor([5])), "embedding.*5"),
    (lambda: nn.Embedding(3, 2)(cr.ones(2)), "embedding"),
    (lambda: nn.CrossEntropyLoss()(cr.ones(2, 3), cr.tensor([0, 7])), "cross_entropy.*7"),
    (lambda: nn.CrossEntropyLoss()(cr.ones(2, 3), cr.tensor([0])), "cross_entropy"),
    (lambda: nn.NLLLoss()(cr.ones(2, 3), cr.ones(2)), "nll_loss"),
    (lambda: nn.Dropout(1.5), "1.5"),
    (lambda: nn.MaxPool2d(9)(cr.ones(1, 1, 3, 3)), "max_pool2d"),
    (lambda: nn.LSTM(3, 4)(cr.ones(5, 2, 7)), "7|input"),
    (lambda: nn.GroupNorm(2, 3), "2.*3|3.*2"),
    (lambda: nn.Unflatten(1, (2, 2))(cr.ones(2, 3)), "unflatten"),
    (lambda: nn.Sequential(3), "Module"),
    (lambda: nn.Linear(3, 4).load_state_dict({"weight": cr.ones(2, 2)}), "weight"),
]


@pytest.mark.parametrize(("call", "message"), BAD_LAYERS, ids=[str(i) for i in range(len(BAD_LAYERS))])
@pytest.mark.cpu_only  # a device is not asked whether an index is in range
def test_layers_refuse_what_does_not_fit(call, message):
    with pytest.raises(CLEAN, match=message):
        call()


OPTIMIZERS = [
    "SGD",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Adagrad",
    "Adadelta",
    "ASGD",
]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.filterwarnings("ignore:.*twice")
def test_optimizers_refuse_bad_arguments(name):
    make = getattr(optim, name)
    p = cr.ones(2, requires_grad=True)
    calls = [
        lambda: make([]), lambda: make(p), lambda: make([3.0]), lambda: make([p], lr=-1.0), lambda: make([p], lr="a"), lambda: make([p * 2]),
        lambda: make("text"), lambda: make([{"lr": 0.1}]), lambda: make([p, p], lr=0.1).step(closure=3), lambda: make(None),
        lambda: make([p], lr=0.1).load_state_dict({}), lambda: make([p], lr=0.1).add_param_group({"params": [p]}),
    ]  # fmt: skip
    for number, call in enumerate(calls):
        error = answer(call)
        assert isinstance(error, Exception), f"call {number}: a silent result"
        check(error)


def test_schedulers_refuse_bad_arguments():
    from chainrule.optim import lr_scheduler

    sgd = optim.SGD([cr.ones(1, requires_grad=True)], lr=0.1)
    for call in (
        lambda: lr_scheduler.StepLR(None, 3), lambda: lr_scheduler.MultiStepLR(sgd, 3), lambda: lr_scheduler.LambdaLR(sgd, [1, 2]),
        lambda: lr_scheduler.OneCycleLR(sgd, 0.1), lambda: lr_scheduler.ReduceLROnPlateau(sgd, mode="up"),
    ):  # fmt: skip
        error = answer(call)
        assert isinstance(error, Exception), "a silent result"
        check(error)
