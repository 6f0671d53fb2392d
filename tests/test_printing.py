"""How Tensors print. The expected texts are PyTorch's, `chainrule` standing for `torch`."""

import math

import numpy as np
import pytest

import chainrule as cr


@pytest.fixture(autouse=True)
def default_options():
    yield
    cr.set_printoptions(profile="default")


CASES = [
    (1, "tensor(1)"),
    (1.5, "tensor(1.5000)"),
    ([1e5, 2e5], "tensor([100000., 200000.])"),
    ([1e8, 1.0], "tensor([1.0000e+08, 1.0000e+00])"),
    ([1.0, 10000.0], "tensor([1.0000e+00, 1.0000e+04])"),
    ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
    ([math.nan, 1.0], "tensor([nan, 1.])"),
    ([3.0, -1.0, math.inf], "tensor([ 3., -1., inf])"),
    ([0.5, -math.inf], "tensor([0.5000,   -inf])"),
    ([-0.0, 0.0], "tensor([-0., 0.])"),
    ([True, False], "tensor([ True, False])"),
    ([-1, 10, 100], "tensor([ -1,  10, 100])"),
    ([1 + 2j, -0.5j], "tensor([1.+2.0000j, -0.-0.5000j])"),
    ([], "tensor([])"),
    ([[], []], "tensor([], size=(2, 0))"),
    ([[[1.0], [2.0]], [[3.0], [4.0]]], "tensor([[[1.],\n         [2.]],\n\n        [[3.],\n         [4.]]])"),
]


@pytest.mark.parametrize(("data", "expected"), CASES, ids=[text for _, text in CASES])
def test_text(data, expected):
    assert repr(cr.tensor(data)) == expected


def test_notes_name_what_the_numbers_do_not_tell():
    x = cr.tensor([1.0], dtype=cr.float64, requires_grad=True)
    assert repr(x) == "tensor([1.], dtype=chainrule.float64, requires_grad=True)"
    assert repr(x * 2) == "tensor([2.], dtype=chainrule.float64, grad_fn=<MulBackward0>)"
    assert repr(cr.zeros(0, dtype=cr.int64)) == "tensor([], dtype=chainrule.int64)"
    assert repr(cr.zeros(1, device="fake")) == "tensor([0.], device='fake:0')"
    assert repr(cr.nn.Parameter(cr.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"
    assert repr(cr.ones(5, requires_grad=True) * 1e9).endswith(",\n       grad_fn=<MulBackward0>)")


def test_long_tensors_are_cut_to_their_ends_and_lines_to_80_characters():
    assert repr(cr.arange(1001)) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])"
    text = repr(cr.zeros(40, 40)).splitlines()
    assert text[0] == "tensor([[0., 0., 0.,  ..., 0., 0., 0.],"
    assert text[3] == "        ..." + ","
    assert all(len(line) <= 80 for line in repr(cr.arange(500)).splitlines())
    assert repr(cr.arange(2000.0)[:7]) == "tensor([0., 1., 2., 3., 4., 5., 6.])"


def test_options():
    x = cr.tensor([1.23456, 1000.0])
    cr.set_printoptions(precision=2)
    assert repr(x) == "tensor([   1.23, 1000.00])"
    cr.set_printoptions(sci_mode=True)
    assert repr(x) == "tensor([1.23e+00, 1.00e+03])"
    cr.set_printoptions(profile="default", threshold=4, edgeitems=1)
    assert repr(cr.arange(5)) == "tensor([0,  ..., 4])"
    cr.set_printoptions(profile="default", linewidth=20)
    assert repr(cr.arange(6)) == "tensor([0, 1, 2, 3,\n        4, 5])"
    cr.set_printoptions(profile="full")
    assert "..." not in repr(cr.zeros(1100))
    cr.set_printoptions(profile="short")
    assert repr(cr.tensor([0.125])) == "tensor([0.12])"


@pytest.mark.parametrize(
    "wrong", [{"profile": "tiny"}, {"precision": -1}, {"linewidth": 0}, {"threshold": "all"}]
)
def test_wrong_options_are_refused_and_change_nothing(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        cr.set_printoptions(**wrong)
    assert repr(cr.tensor([0.125])) == "tensor([0.1250])"


@pytest.mark.torch
@pytest.mark.parametrize(
    "options",
    [{}, {"precision": 2}, {"sci_mode": True}, {"sci_mode": False}, {"edgeitems": 2, "threshold": 20}],
)
def test_torch_prints_the_same(options):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [
        rng.standard_normal(shape) for shape in ((3,), (50,), (3, 4), (2, 2, 2), (2000,), (40, 40), (7, 300))
    ]
    arrays += [rng.integers(-1000, 1000, shape) for shape in ((50,), (40, 40), (2, 2, 2))]
    arrays += [rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40)), rng.random((40, 50)) < 0.5]
    arrays += [
        np.arange(1001.0),
        rng.standard_normal(8) * 10.0 ** rng.integers(-6, 6, 8),
        np.array([0.0, np.nan]),
    ]
    torch.set_printoptions(**options)
    cr.set_printoptions(**options)
    try:
        for array in arrays:
            theirs, ours = torch.tensor(array), cr.tensor(array)
            if (
                array.dtype.kind in "fc"
            ):  # the default dtype: no note, whose length would differ by the name of the library
                theirs, ours = (x.float() if array.dtype.kind == "f" else x.cfloat() for x in (theirs, ours))
            assert repr(ours) == repr(theirs)
    finally:
        torch.set_printoptions(profile="default")
