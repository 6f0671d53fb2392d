"""ONNX files: what ONNX Runtime computes from them is what the exported module computes."""

import io

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule._onnx_trace import flattened
from chainrule.nn import functional as F

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def exported(model, args, **options):
    file = io.BytesIO()
    proto = cr.onnx.export(model, args, file, **options)
    onnx.checker.check_model(proto, full_check=True)
    return runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


def agree(model, args, session=None, rtol=1e-4, atol=1e-5, **options):
    """Export on `args`, run on other values of the same shape too, and compare."""
    args = args if isinstance(args, tuple) else (args,)
    session = session or exported(model, args, **options)
    for inputs in (args, tuple(one.flip(0) if one.ndim else one for one in args)):
        with cr.no_grad():
            expected = flattened(model(*inputs))
        names = [one.name for one in session.get_inputs()]
        found = session.run(None, {name: one.numpy() for name, one in zip(names, inputs, strict=True)})
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.numpy().dtype and a.shape == tuple(b.shape)
            np.testing.assert_allclose(a, b.numpy(), rtol=rtol, atol=atol)
    return session


# --- operations ---

ACTIVATIONS = """celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu sigmoid silu
    softplus softshrink softsign tanh tanhshrink""".split()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    agree(lambda x: getattr(F, name)(x), cr.randn(3, 4) * 3)


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_opsets(opset):
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.GELU("tanh"), nn.LayerNorm(4), nn.Softmax(-1))
    session = agree(model, cr.randn(2, 3), opset_version=opset)
    assert session is not None


X = cr.tensor([[0.5, -1.5, 2.0, 0.25], [3.0, 0.75, -0.125, 1.0], [-2.0, 1.25, 0.1, -0.6]])
POSITIVE = X.abs() + 0.1
CASES = {
    "arithmetic": lambda x: (x + 1, 1 - x, x * x, x / 2, 2 / (x + 9), -x, x**2, x**3, 2**x, abs(x)),
    "broadcasting": lambda x: x[:, None] * x[None],
    "extremes": lambda x: (x.maximum(x * 0), x.minimum(x * 0), x.clamp(-1, 1), x.clamp(min=0), x.clamp(max=0)),
    "rounding": lambda x: (x.floor(), x.ceil(), x.round(), x.sign()),
    "trigonometry": lambda x: (x.sin(), x.cos(), x.tan(), x.atan(), x.sinh(), x.cosh(), x.tanh(), x.asinh()),
    "exponential": lambda x: (x.exp(), x.expm1(), x.exp2(), x.sigmoid(), cr.erf(x)),
    "comparison": lambda x: (x > 0, x >= 0.5, x < 0, x <= 0.5, x == 0.5, x != 0.5, (x > 0) & (x < 1), (x > 0) | (x < -1), ~(x > 0)),
    "choice": lambda x: (cr.where(x > 0, x, x * 2), x.masked_fill(x > 1, 7.0)),
    "sums": lambda x: (x.sum(), x.sum(0), x.sum((0, 1), keepdim=True), x.mean(1), x.prod(1), x.amax(0), x.amin(1, keepdim=True)),
    "statistics": lambda x: (x.var(1), x.std(0), x.var(), x.var(1, correction=0), x.norm(), x.norm(1, dim=1)),
    "largest": lambda x: (x.max(1), x.min(0), x.argmax(1), x.argmin(0, keepdim=True), x.argmax(), x.max()),
    "logical sums": lambda x: ((x > 0).all(1), (x > 0).any(0), (x > 9).any()),
    "logarithms of sums": lambda x: (x.logsumexp(1), x.log_softmax(0), x.softmax(1), x.cumsum(1)),
    "shapes": lambda x: (x.reshape(4, 3), x.flatten(), x.t(), x.unsqueeze(1), x[:, :1].squeeze(1), x.expand(2, 3, 4), x.reshape(2, 2, 3).permute(2, 0, 1)),
    "joining": lambda x: (cr.cat([x, x * 2], 1), cr.stack([x, -x], 1), x.repeat(2, 1, 2), *x.chunk(2, 1), *x.split([1, 2])),
    "turning": lambda x: (x.flip(1), x.tril(), x.triu(1), F.pad(x, (1, 2), value=3.0)),
    "indexing": lambda x: (x[0], x[-1], x[:, 1:3], x[..., -1], x[1, None, 2:], x[:, ::2], x[[0, 2]], x[:, [3, 1, 1]], x[None]),
    "gathering": lambda x: (x.gather(1, cr.tensor([[0, 3], [1, 1], [2, 0]])), x.index_select(0, cr.tensor([2, 0]))),
    "products": lambda x: (x @ x.t(), cr.einsum("ij,kj->ik", x, x), x.t().matmul(x), cr.outer(x[0], x[1])),
    "types": lambda x: (x.to(cr.int64), x.to(cr.float64), (x > 0).to(cr.float32) * x, x.double().float()),
    "a constant": lambda x: (x, cr.ones(2), cr.arange(3)),
    "resizing": lambda x: (F.interpolate(x[None, None], scale_factor=2), F.interpolate(x[None, None], size=(5, 7), mode="bilinear")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operations(case):
    agree(CASES[case], X)


def test_operations_of_positive_numbers():
    agree(
        lambda x: (
            x.log(),
            x.log2(),
            x.log10(),
            x.log1p(),
            x.sqrt(),
            x.rsqrt(),
            x.reciprocal(),
            x**0.5,
            x**x,
        ),
        POSITIVE,
    )


# --- modules ---

MODULES = {
    "network": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 2, bias=False)), (3, 4)),
    "linear of three dimensions": (lambda: nn.Linear(4, 5), (2, 3, 4)),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (2, 4, 9, 9)),
    "convolution 1": (lambda: nn.Conv1d(2, 3, 3, padding="same"), (2, 2, 7)),
    "convolution 3": (lambda: nn.Conv3d(1, 2, 2), (1, 1, 4, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 5, 5)),
    "pooling": (lambda: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2, padding=1)), (1, 2, 7, 7)),
    "pooling without its frame": (lambda: nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), (1, 2, 5, 5)),
    "adaptive pooling": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1)), (1, 2, 8, 8)),
    "batch norm": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)), (2, 3, 4, 4)),
    "group and instance norm": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)), (2, 4, 3, 3)),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm((3, 4)), nn.LayerNorm(4, bias=False), nn.RMSNorm(4)), (2, 3, 4)),
    "prelu": (lambda: nn.PReLU(3, init=0.1), (2, 3, 4)),
    "lstm": (lambda: nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), (2, 5, 3)),
    "gru": (lambda: nn.GRU(3, 4, 2), (5, 2, 3)),
    "rnn": (lambda: nn.RNN(3, 4, nonlinearity="relu"), (5, 2, 3)),
    "gru without bias": (lambda: nn.GRU(3, 4, bias=False, bidirectional=True), (1, 2, 3)),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    "in place": (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4)), (3, 4)),
    "residual": (lambda: Residual(), (2, 4)),
}  # fmt: skip


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.second(F.relu(self.first(x)))


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    make, shape = MODULES[name]
    model = make().eval()
    for buffer in model.buffers():  # statistics that are not those of a new layer
        if buffer.dtype.is_floating_point:
            buffer.copy_(cr.rand(buffer.shape) + 0.5)
    agree(model, cr.randn(shape))


def test_embedding_and_several_inputs():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(10, 4), nn.Linear(4, 3)

        def forward(self, words, weights):
            return {"tags": self.out(self.table(words) * weights[..., None]), "sum": weights.sum(1)}

    model = Tagger()
    args = (cr.tensor([[1, 2, 9], [0, 4, 4]]), cr.rand(2, 3))
    session = agree(model, args, input_names=["words", "weights"], output_names=["tags", "sum"])
    assert [one.name for one in session.get_outputs()] == ["tags", "sum"]


def test_masked_attention():
    mask = cr.ones(4, 4, dtype=cr.bool).tril()
    agree(lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=mask), cr.randn(2, 4, 8))
    agree(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), cr.randn(2, 4, 8))


def test_parameters_keep_their_names():
    proto = cr.onnx.export(nn.Sequential(nn.Linear(2, 3)), cr.ones(1, 2), io.BytesIO())
    assert {one.name for one in proto.graph.initializer} == {"0.weight", "0.bias"}
    assert [node.op_type for node in proto.graph.node] == ["Gemm", "Identity"]


def test_the_mode_is_as_before():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4).eval())
    mean = model[1].running_mean.clone()
    agree(model.eval(), cr.randn(3, 4))
    model[0].train()
    exported(model, cr.randn(3, 4))
    assert model[0].training and not model[1].training and model[1].running_mean.equal(mean)


def test_a_file(tmp_path):
    cr.onnx.export(nn.Linear(2, 1), (cr.ones(3, 2),), tmp_path / "a.onnx")
    assert onnx.load(tmp_path / "a.onnx").producer_name == "chainrule"
    assert [one.name for one in tmp_path.iterdir()] == ["a.onnx"]


# --- sizes that vary ---


@pytest.mark.parametrize(
    ("make", "shape", "axes"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)), (3, 4), {0: "batch"}),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2)), (2, 1, 8, 8), {0: "batch"}),
        (lambda: nn.Conv2d(1, 2, 3, padding=1), (2, 1, 8, 8), {0: "n", 2: "h", 3: "w"}),
        (lambda: nn.GroupNorm(2, 4), (2, 4, 3), [0]),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8), {0: "batch"}),
    ],
)  # fmt: skip
def test_dynamic_axes(make, shape, axes):
    model = make().eval()
    session = exported(model, cr.randn(shape), input_names=["x"], dynamic_axes={"x": axes})
    agree(model, cr.randn(shape), session)
    for more in (1, 3):
        longer = [size + more * (axis in axes) for axis, size in enumerate(shape)]
        agree(model, cr.randn(longer), session)


def test_dynamic_axes_that_cannot_be():
    options = {"input_names": ["x"], "dynamic_axes": {"x": [0]}}
    with pytest.raises(RuntimeError, match="depends on the size of a dynamic axis"):
        exported(nn.LSTM(3, 4), cr.randn(5, 2, 3), **options)
    with pytest.raises(RuntimeError, match="number of operations depends"):
        exported(lambda x: sum(one.exp() for one in x), cr.randn(5, 2), **options)


# --- what cannot be exported ---


def test_traces_that_do_not_hold_are_refused():
    x = cr.tensor([1.0, -2.0, 3.0, 5.0])

    def branch(x):
        return x.exp() if x[0] < 2 else x

    def region(x):
        y = x * 2
        y[1:] = x[1:] * 5
        return y

    for function in (
        branch,
        region,
        lambda x: x * x[0].item(),
        lambda x: cr.from_numpy(np.exp(x.numpy())),
        lambda x: x + cr.rand(4),
    ):
        with pytest.raises(RuntimeError, match="branches on values"):
            exported(function, x)
    with pytest.raises(RuntimeError, match="branches on values"):
        exported(region, cr.ones(4))
    with pytest.raises(RuntimeError, match=r"convert such with \.to\(dtype\)"):
        exported(lambda x, n: x * n, (x, cr.tensor([1, 2, 3, 4])))


def test_operations_without_a_counterpart_are_named():
    for function, name in (
        (lambda x: cr.linalg.inv(x), "inv"),
        (lambda x: F.avg_pool2d(x[None], 2, divisor_override=3), "divisor_override"),
        (lambda x: x[x.argmax(0), x.argmin(0)], "several arrays"),
    ):
        with pytest.raises(NotImplementedError, match=f"onnx.export: .*{name}"):
            exported(function, cr.eye(3) + cr.rand(3, 3))


def test_bad_calls():
    model, x = nn.Linear(2, 1), cr.ones(1, 2)
    for options, message in (
        ({"opset_version": 11}, "18 to 23, got 11"),
        ({"input_names": ["a", "b"]}, "input_names must be 1 different names"),
    ):
        with pytest.raises(ValueError, match=message):
            exported(model, x, **options)
    with pytest.raises(TypeError, match="tuple of Tensors"):
        exported(model, ())
    with pytest.raises(TypeError, match="returned a float"):
        exported(lambda x: x.sum().item(), x)
