"""Reading and writing through views of views, by every kind of index, drawn at random.

The reference for values is NumPy doing the same to its own arrays; for gradients, finite differences of our values (`gradcheck`). What an
index means where NumPy and PyTorch differ is compared with PyTorch, where that is installed.
"""

import numpy as np
import pytest

import chainrule as cr

# Steps from a tensor to a view of it: each draws its arguments and gives (view of the Tensor, view of the NumPy array).


def _slice(rng, x, a):
    axis = rng.integers(a.ndim)
    index = (slice(None),) * axis + (slice(int(rng.integers(2)), None, int(rng.integers(1, 3))),)
    return x[index], a[index]


def _int(rng, x, a):
    axis = rng.integers(a.ndim)
    index = (Ellipsis, int(rng.integers(a.shape[axis])), *(slice(None),) * (a.ndim - 1 - axis))
    return x[index], a[index]


def _none(rng, x, a):
    axis = int(rng.integers(a.ndim + 1))
    return x.unsqueeze(axis), np.expand_dims(a, axis)


def _permute(rng, x, a):
    order = [int(one) for one in rng.permutation(a.ndim)]
    return x.permute(order), a.transpose(order)


def _flat(rng, x, a):
    """Where the memory allows it, the first two dimensions as one."""
    if a.ndim < 2:
        return x, a
    shape = (-1, *a.shape[2:])
    joined = a.reshape(shape)
    return (x.view(shape), joined) if np.shares_memory(joined, a) else (x, a)


def _diagonal(rng, x, a):
    if a.ndim < 2:
        return x, a
    found = np.diagonal(a)
    found.flags.writeable = True
    return x.diagonal(), found


def _windows(rng, x, a):
    """Windows that do not overlap."""
    if not a.ndim or a.shape[-1] < 2:
        return x, a
    count, step = a.shape[-1] // 2, a.strides[-1]
    pairs = np.lib.stride_tricks.as_strided(a, (*a.shape[:-1], count, 2), (*a.strides[:-1], 2 * step, step))
    return x.unfold(-1, 2, 2), pairs


def _by_strides(rng, x, a):
    """Every other element of memory, as `as_strided` says it."""
    if a.ndim != 1 or a.size < 3:
        return x, a
    step = x.stride(0)
    return x.as_strided((a.size // 2,), (2 * step,), x.storage_offset() + step), a[1 : 2 * (a.size // 2) : 2]


STEPS = [_slice, _int, _none, _permute, _flat, _diagonal, _windows, _by_strides]


def _view(rng, x, a):
    """A view of a view of ... of x, one to four steps away."""
    for _ in range(rng.integers(1, 5)):
        if a.ndim and a.size:
            x, a = STEPS[rng.integers(len(STEPS))](rng, x, a)
    return x, a


# Writes into a view; `v` is a vector of numbers to write.


def _value(shape, v, a):
    """As much of v as needed, broadcast along the first dimension if there is one."""
    shape = tuple(shape)[1:] if len(shape) > 1 else tuple(shape)
    count = int(np.prod(shape))
    return v[:count].reshape(shape), a[:count].reshape(shape)


def _assign(rng, x, a, v, w):
    v, w = _value(a.shape, v, w)
    x[...] = v
    a[...] = w


def _scale(rng, x, a, v, w):
    x.mul_(v[0])
    a *= w[0]


def _add_itself(rng, x, a, v, w):
    old = x.clone()  # what is saved must not be overwritten
    x += old * old
    a += a * a


def _rows(rng, x, a, v, w):
    if not a.ndim or not a.size:
        return
    index = rng.permutation(a.shape[0])[: max(1, a.shape[0] // 2)]
    v, w = _value((1, *a.shape[1:]), v, w)
    x[cr.tensor(index)] = v
    a[index] = w


def _masked(rng, x, a, v, w):
    mask = rng.random(a.shape) < 0.5
    x[cr.tensor(mask)] = v[0]
    a[mask] = w[0]


def _last(rng, x, a, v, w):
    if a.ndim and a.size:
        x[..., -1:] = v[1]
        a[..., -1:] = w[1]


WRITES = [_assign, _scale, _add_itself, _rows, _masked, _last]


def _program(seed, x, v, a, w):
    """One to three writes through views of x (and of the array a), and what one of the views then sees."""
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(rng.integers(1, 4)):
        view, other = _view(rng, x, a)
        seen.append((view, other))
        target = seen[rng.integers(len(seen))]
        WRITES[rng.integers(len(WRITES))](rng, *target, v, w)
    return seen[0]


START = np.linspace(-1.0, 1.0, 24).reshape(2, 3, 4) * 1.1
NUMBERS = np.cos(np.arange(24.0))


def _start(x, seed):
    """x in memory of its own: in rows for an even seed, else in columns."""
    return x * 1 if seed % 2 == 0 else x.permute(2, 1, 0).contiguous().permute(2, 1, 0) * 1


def _array(seed):
    """The array that `_start` makes."""
    return np.array(START, order="CF"[seed % 2])


@pytest.mark.parametrize("seed", range(150))
def test_writes_through_views_of_views(seed):
    a, w = _array(seed), NUMBERS.copy()

    def run(x, v):
        y = _start(x, seed)
        view, other = _program(seed, y, v, _array(seed), w)
        return y, view * 1

    y = _start(cr.tensor(START), seed)
    view, other = _program(seed, y, cr.tensor(NUMBERS), a, w)
    np.testing.assert_allclose(y.numpy(), a)
    np.testing.assert_allclose(view.numpy(), other)
    inputs = [cr.tensor(START, requires_grad=True), cr.tensor(NUMBERS, requires_grad=True)]
    assert cr.autograd.gradcheck(run, inputs, atol=1e-6, rtol=1e-5)


# Indices of every kind, against PyTorch


def _index(rng, shape, single_mask):
    """A random index of a tensor of this shape; at most one mask, since several must agree in what they count."""
    parts, axis = [], 0
    kinds = ["int", "slice", "array", "none", "all", "mask", "flag", "list", "ellipsis"]
    length = int(rng.integers(1, 4))
    while axis < len(shape):
        kind = rng.choice(kinds)
        n = shape[axis]
        if kind == "none":
            parts.append(None)
            if len(parts) > 6:
                break
            continue
        if kind == "flag" and single_mask:
            parts.append(True)
            single_mask = False
            continue
        if kind == "ellipsis":
            if Ellipsis not in [one for one in parts if not isinstance(one, np.ndarray)]:
                parts.append(Ellipsis)
            break
        if kind == "int":
            parts.append(int(rng.integers(-n, n)))
        elif kind == "slice":
            parts.append(slice(int(rng.integers(0, n)), None, int(rng.integers(1, 3))))
        elif kind == "array":
            parts.append(rng.integers(-n, n, (length,) if rng.random() < 0.5 else (2, 1)))
        elif kind == "list":
            parts.append([int(one) for one in rng.integers(0, n, length)])
        elif kind == "mask" and single_mask:
            mask = np.zeros(n, bool)
            mask[rng.permutation(n)[: min(length, n)]] = True
            parts.append(mask)
            single_mask = False
            if mask.sum() != length:
                length = int(mask.sum())
                parts = [
                    one
                    for one in parts
                    if not (isinstance(one, list) or (isinstance(one, np.ndarray) and one.dtype != bool))
                ]
                axis = len(shape)
        else:
            parts.append(slice(None))
        axis += 1
    return parts


def _with(library, parts):
    return tuple(library.tensor(one) if isinstance(one, np.ndarray) else one for one in parts)


def _fits(parts, shape):
    used = sum(1 for one in parts if one is not None and one is not True and one is not Ellipsis)
    return used <= len(shape)


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(150))
def test_any_index_reads_and_writes_as_in_pytorch(seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 5)))
    parts = _index(rng, shape, True)
    if not _fits(parts, shape):
        parts = parts[:1]
    x = rng.standard_normal(shape)
    ours, theirs = cr.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    try:
        want = theirs[_with(torch, parts)]
    except IndexError:
        with pytest.raises((IndexError, RuntimeError)):
            ours[_with(cr, parts)]
        return
    got = ours[_with(cr, parts)]
    assert tuple(got.shape) == tuple(want.shape)
    weights = rng.standard_normal(tuple(want.shape))
    (got * cr.tensor(weights)).sum().backward()
    (want * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy())
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=1e-14)

    # Writing: places named twice would leave open which value stays, so all get the same one along the first dimension.
    value = rng.standard_normal(())
    results = []
    for library, leaf in ((cr, ours), (torch, theirs)):
        leaf.grad = None
        v = library.tensor(value, requires_grad=True)
        y = leaf * 1
        y[_with(library, parts)] = v * 2
        (y * y).sum().backward()
        results.append((y.detach().numpy(), leaf.grad.numpy(), v.grad.numpy()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


def test_ints_go_before_arrays():
    x = cr.arange(24).reshape(2, 3, 4)
    assert x[0, :, [1, 2]].shape == (3, 2)
    assert x[[0, 1], :, 0].shape == (2, 3)
    y = x.clone()
    y[0, :, [1, 2]] = cr.tensor([[7, 8]])
    assert y[0, :, 1].tolist() == [7, 7, 7] and y[0, :, 2].tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    "read",
    [
        lambda x, index: x[index],
        lambda x, index: x[..., index],
        lambda x, index: x.gather(0, index),
        lambda x, index: x.index_select(0, index),
        lambda x, index: x.take(index),
        lambda x, index: x.put(index, x[:2]),
        lambda x, index: x.index_reduce(0, index, x[:2], "mean"),
        lambda x, index: x.scatter_reduce(0, index, x[:2], "prod"),
    ],
)
def test_an_index_changed_after_its_use_is_noticed_or_harmless(read):
    x = cr.tensor([1.0, 2.0, 4.0], requires_grad=True)
    index = cr.tensor([0, 1])
    read(x, index).sum().backward()
    expected, x.grad = x.grad.tolist(), None
    y = read(x, index)
    index += 1
    try:
        y.sum().backward()
    except RuntimeError as error:
        assert "in-place" in str(error)
    else:
        assert x.grad.tolist() == expected


@pytest.mark.parametrize(
    "index, error, words",
    [
        (3, IndexError, "out of range"),
        ((0, 0, 0), IndexError, "too many indices"),
        (slice(None, None, -1), ValueError, "step must be positive"),
        (1.5, TypeError, "float"),
        (cr.tensor([0.5]), IndexError, "integer or bool"),
        (cr.tensor([True]), IndexError, "mask of shape"),
        (cr.tensor([5]), IndexError, "out of bounds"),
    ],
)
def test_bad_indices(index, error, words):
    x = cr.zeros(3, 4)
    with pytest.raises(error, match=words):
        x[index]
    with pytest.raises(error, match=words):
        x[index] = 1.0


def test_a_value_that_does_not_fit():
    x = cr.zeros(3, 4)
    with pytest.raises(RuntimeError, match="setitem"):
        x[cr.tensor([0, 1])] = cr.ones(3)
    x[0] = cr.ones(1, 1, 4)  # leading dimensions of length 1 do not count
    assert x[0].tolist() == [1.0] * 4


# Views by strides


def _leaf(*shape):
    return cr.rand(*shape, dtype=cr.float64, requires_grad=True)


def test_strided_views_share_memory():
    x = cr.arange(10.0)
    y, windows = x.as_strided((2, 3), (4, 1), 1), x.unfold(0, 4, 2)
    x[5] = 50.0
    assert y[1, 0] == 50.0 and windows[1, 3] == 50.0
    y[0, 0] = -1.0
    assert x[1] == -1.0
    assert y.storage_offset() == 1 and x[3:].storage_offset() == 3


def test_writing_into_overlapping_windows_is_refused():
    y = _leaf(6) * 1
    for view in (y.unfold(0, 3, 1), y.as_strided((2, 4), (1, 1)), y.as_strided((2, 2), (0, 1))):
        with pytest.raises(RuntimeError, match="share one place"):
            view.mul_(2)
        view.clone().mul_(2)
    cr.zeros(0, 3).unfold(1, 2, 1).mul_(2)


def test_strides_beyond_a_view_lead_to_its_base():
    x = _leaf(3, 4)
    column = (x * 1)[0, 1:].as_strided((3,), (4,), 2)
    column.sum().backward()
    assert x.grad.tolist() == [[0, 0, 1, 0]] * 3


def test_strides_beyond_memory_are_refused():
    x = cr.zeros(3, 4)
    for size, stride, offset in (((13,), (1,), 0), ((2,), (12,), 0), ((1,), (1,), 12)):
        with pytest.raises(RuntimeError, match="beyond a memory"):
            x.as_strided(size, stride, offset)
    for size, stride, offset in (((2,), (1, 1), 0), ((-1,), (1,), 0), ((1,), (-1,), 0), ((1,), (1,), -1)):
        with pytest.raises(RuntimeError, match="as_strided"):
            x.as_strided(size, stride, offset)
    with pytest.raises(RuntimeError, match="reversed"):
        cr.from_numpy(np.arange(4.0)[::-1]).as_strided((2,), (1,))
    assert x.as_strided((0, 3), (1, 1)).shape == (0, 3)


def test_unfold_refuses_what_does_not_fit():
    x = cr.zeros(3, 4)
    for args in ((1, 5, 1), (1, -1, 1), (1, 2, 0)):
        with pytest.raises(RuntimeError, match="unfold"):
            x.unfold(*args)
    assert cr.tensor(2.0).unfold(0, 1, 1).tolist() == [2.0]
    assert x.unfold(1, 0, 2).shape == (3, 3, 0)


def test_a_write_through_a_view_of_columns_reaches_the_gradient():
    """The base lies in columns; what is a view of it would be a copy of its gradient."""
    x = _leaf(2, 3)
    y = x.t() * 1
    assert y.stride() == (1, 3)
    y.t().view(-1)[1:3].mul_(5.0)
    y.as_strided((2,), (3,), 0).mul_(7.0)
    y.sum().backward()
    assert x.grad.tolist() == [[7.0, 5.0, 5.0], [7.0, 1.0, 1.0]]


# A new layout for the same tensor


@pytest.mark.parametrize(
    "change, shape",
    [
        (lambda y: y.t_(), (3, 2)),
        (lambda y: y.transpose_(0, 1), (3, 2)),
        (lambda y: y.swapaxes_(0, 1), (3, 2)),
        (lambda y: y.swapdims_(-1, 0), (3, 2)),
        (lambda y: y.unsqueeze_(1), (2, 1, 3)),
        (lambda y: y.unsqueeze_(0).squeeze_(), (2, 3)),
        (lambda y: y.unsqueeze_(0).squeeze_(0), (2, 3)),
        (lambda y: y.as_strided_((3, 2), (1, 3)), (3, 2)),
    ],
)
@pytest.mark.parametrize("of_view", [False, True])
def test_layout_changed_in_place(change, shape, of_view):
    x = _leaf(2, 3)
    whole = x * 1
    y = whole.view(2, 3) if of_view else whole
    assert change(y) is y
    assert tuple(y.shape) == shape
    y.mul_(2.0)
    y[0] = 0.0
    (y * y).sum().backward()
    kept = y.detach() != 0
    assert x.grad.count_nonzero() == kept.sum()
    np.testing.assert_allclose(sorted(x.grad[x.grad != 0].tolist()), sorted((4 * y[kept]).tolist()))
    if of_view:
        assert whole.shape == (2, 3)
        assert (whole == 0).sum() == (y == 0).sum()


def test_layout_of_a_leaf_and_of_a_base_with_views():
    with pytest.raises(RuntimeError, match="leaf"):
        _leaf(2, 3).t_()
    y = _leaf(2, 3) * 1
    row = y[0]
    y.t_()
    before = y.detach().clone()
    with pytest.raises(RuntimeError, match="take the view again"):
        row.mul_(2.0)
    assert (y == before).all()
    z = cr.zeros(2, 3)
    row = z[0]
    z.t_()
    row.add_(1.0)  # no gradient, no harm
    assert z[:, 0].tolist() == [1.0] * 3


def test_resize():
    x = cr.arange(6.0)
    assert x.resize_(2, 2).tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert x.resize_((6,)).tolist() == list(range(6))  # the memory was still there
    assert x.resize_(3, 4).flatten()[:6].tolist() == list(range(6))
    assert x.resize_as_(cr.zeros(2)).tolist() == [0.0, 1.0]
    with pytest.raises(RuntimeError, match="requires grad"):
        _leaf(3).resize_(2)
    with pytest.raises(RuntimeError, match="negative"):
        x.resize_(-1)


def test_memory_nobody_wrote_yet():
    assert cr.empty_strided((2, 3), (1, 4)).stride() == (1, 4)
    assert cr.zeros(1, dtype=cr.int32).new_empty_strided((2,), (3,)).dtype is cr.int32
    made = cr.empty_permuted((2, 3, 4), (2, 0, 1), requires_grad=True)
    assert made.stride() == (3, 1, 6) and made.requires_grad and made.is_leaf
    assert cr.empty_strided((0, 3), (1, 1)).shape == (0, 3)
    for call in (
        lambda: cr.empty_strided((2,), (1, 1)),
        lambda: cr.empty_strided((2,), (-1,)),
        lambda: cr.empty_permuted((2, 3), (0, 0)),
    ):
        with pytest.raises(RuntimeError, match="empty_"):
            call()


def test_pinning_needs_cuda():
    x = cr.zeros(3)
    assert not x.is_pinned()
    if cr.cuda.is_available():
        assert x.pin_memory().is_pinned()
    else:
        with pytest.raises(RuntimeError, match="pin_memory"):
            x.pin_memory()


def test_memory_read_as_another_dtype():
    x = cr.tensor([1.0, -2.0], requires_grad=True)
    bits = x.view(cr.int32)
    assert bits.tolist() == [0x3F800000, -0x40000000] and not bits.requires_grad
    assert x.detach().view(cr.int64).shape == (1,)
    assert x.detach().view(dtype=cr.uint8).shape == (8,)
    with pytest.raises(RuntimeError, match="cannot be read"):
        cr.zeros(3).view(cr.float64)
    with pytest.raises(RuntimeError, match="cannot be read"):
        cr.tensor(1.0).view(cr.int64)


def test_the_copying_functions_share_nothing():
    x = cr.arange(6.0).reshape(2, 3)
    for made in (
        cr.view_copy(x, (3, 2)),
        cr.t_copy(x),
        cr.alias_copy(x),
        cr.detach_copy(x),
        cr.as_strided_copy(x, (2,), (1,)),
        cr.expand_copy(x, (2, 2, 3)),
        cr.unfold_copy(x, 1, 2, 1),
        *cr.split_copy(x, 1),
        *cr.unbind_copy(x),
    ):
        assert not np.shares_memory(made.numpy(), x.numpy())
        assert not made._is_view()


def test_channels_last():
    x = cr.rand(2, 3, 4, 5, requires_grad=True)
    y = x.contiguous(memory_format=cr.channels_last)
    assert y.stride() == (60, 1, 15, 3) and (y == x).all()
    assert y.is_contiguous(memory_format=cr.channels_last) and not y.is_contiguous()
    assert y.contiguous(memory_format=cr.channels_last) is y
    (y * y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())
    assert not x[0].is_contiguous(memory_format=cr.channels_last)
    with pytest.raises(RuntimeError, match="channels_last is for 4"):
        x[0].contiguous(memory_format=cr.channels_last)


def test_the_conjugate_transpose_of_real_numbers_is_a_view():
    x = cr.zeros(2, 3)
    x.H[0, 1] = 1.0
    x.mH[2, 0] = 2.0
    assert x.tolist() == [[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]
