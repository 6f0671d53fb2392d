"""The pictures in the README and the manual, drawn anew after a change of the drawing: `python -P docs/make_images.py [name ...]`."""

import pathlib
import sys

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn

folder = pathlib.Path(__file__).parent / "images"


def chain_rule():
    """f = (x + y) z, values above and gradients below."""
    return cr.draw(lambda x, y, z: (x + y) * z, *numbers(-2.0, 5.0, -4.0))


def numbers(*values):
    return [cr.tensor(value, requires_grad=True) for value in values]


def f(x, y, z):
    q = x + y
    return q * z


def multipliers():
    """The same with the local derivatives: incoming times local is outgoing."""
    return cr.draw(f, *numbers(-2.0, 5.0, -4.0), factors=True)


def backward_pass():
    """The same as a film."""
    return cr.draw(f, *numbers(-2.0, 5.0, -4.0), factors=True)


def sigmoid_neuron():
    """A neuron of two inputs, down to the elementary operations."""

    def neuron(w0, x0, w1, x1, w2):
        z = w0 * x0 + w1 * x1 + w2
        return 1 / (1 + (-z).exp())

    return cr.draw(
        neuron, *numbers(2.0, -1.0, -3.0, -2.0, -3.0), source=False, shapes=False, saved=False, direction="LR"
    )


def two_layers():
    """A network of two layers and its loss, with all values."""
    W1 = cr.tensor([[0.1, -0.3, 0.7], [0.5, 0.8, -0.2]], requires_grad=True)
    W2 = cr.tensor([[0.5], [-0.4], [0.9]], requires_grad=True)

    def loss(x, target):
        h = (x @ W1).tanh()
        y = h @ W2
        return ((y - target) ** 2).sum()

    return cr.draw(loss, cr.tensor([[1.0, -2.0]]), cr.tensor([[0.5]]), factors=True, direction="TB")


def digits_cnn():
    """A convolutional classifier, module by module."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )  # fmt: skip

    def loss(images, labels):
        return F.cross_entropy(model(images), labels)

    images, labels = cr.randn(32, 1, 8, 8), cr.randint(0, 10, (32,))
    return cr.draw(loss, images, labels, depth=2, source=False, direction="TB")


def recurrent():
    """A plain loop over time, no module anywhere."""
    W, U = cr.randn(4, 4, requires_grad=True), cr.randn(3, 4, requires_grad=True)

    def loss(sequence):
        h = cr.zeros(1, 4)
        for x in sequence:
            h = (x @ U + h @ W).tanh()
        return (h**2).mean()

    return loss


def unrolled():
    """Three time steps, one by one."""
    return cr.draw(
        recurrent(), cr.randn(3, 1, 3), stats=False, saved=False, shapes=False, values=False, direction="TB"
    )


def folded():
    """A thousand: the picture of one, and the way to the next."""
    return cr.draw(recurrent(), cr.randn(1000, 1, 3), direction="LR")


def lstm_reader():
    """An LSTM cell in a loop."""
    cell = nn.LSTMCell(3, 4, bias=False)

    def read(sequence):
        h = c = cr.zeros(1, 4)
        for x in sequence:
            h, c = cell(x, (h, c))
        return h.sum()

    return read


def lstm_unrolled():
    """Three steps of it, each a box."""
    return cr.draw(
        lstm_reader(), cr.randn(3, 1, 3), depth=1, stats=False, values=False, saved=False, direction="LR"
    )


def lstm():
    """A hundred steps of it."""
    read = lstm_reader()
    return cr.draw(read, cr.randn(100, 1, 3), stats=False, values=False, direction="LR")


class Residual(nn.Module):
    """relu(x + conv(relu(conv(x))))."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        h = self.conv1(x).relu()
        return (x + self.conv2(h)).relu()


def residual():
    """The way around: the gradient takes it undiminished."""
    return cr.draw(
        Residual(4), cr.randn(2, 4, 8, 8, requires_grad=True), depth=1, values=False, direction="TB"
    )


def transformer():
    """One layer of a Transformer, its modules folded."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    return cr.draw(layer, cr.randn(2, 5, 16, requires_grad=True), depth=1, values=False, direction="TB")


def blocks():
    """Six equal layers, drawn once."""
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(6)])
    return cr.draw(layers, cr.randn(4, 8), fold=True, direction="LR")


def double_backward():
    """The gradient of x³ is an expression too, and has a gradient."""

    def cube(x):
        return x**3

    return cr.draw(cube, cr.tensor(2.0), create_graph=True)


def deep(activation):
    layers = [nn.Sequential(nn.Linear(16, 16), activation()) for _ in range(10)]
    for layer in layers:
        nn.init.kaiming_normal_(layer[0].weight)
    return nn.Sequential(*layers)


def vanishing():
    """Ten layers with sigmoids beside ten with ReLUs, by the norm of the gradient."""
    sigmoid, relu = deep(nn.Sigmoid), deep(nn.ReLU)
    x = cr.randn(8, 16)

    def losses(x):
        return {"sigmoid": (sigmoid(x) ** 2).mean(), "relu": (relu(x) ** 2).mean()}

    return cr.draw(losses, x, color="gradient", depth=2, values=False, saved=False, shapes=False, source=False, direction="TB",
                   stats=True)  # fmt: skip


def nan_hunt():
    """Where the NaN comes from."""

    def loss(x, w):
        p = (x * w).relu()
        return -(p * p.log()).mean()

    return cr.draw(
        loss, cr.tensor([1.0, 2.0, 3.0]), cr.tensor([-1.0, 0.5, 0.2], requires_grad=True), color="nan"
    )


def memory():
    """What each operation keeps for the backward pass."""
    layer = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 8))
    return cr.draw(lambda x: layer(x).logsumexp(1).mean(), cr.randn(32, 64), color="saved", values=False, stats=False, direction="LR",
                   source=False)  # fmt: skip


def in_place():
    """Views and in-place writes."""

    def write(x):
        y = x * 2
        y[0] = x[1] ** 2
        y.mul_(3)
        return y.sum()

    return cr.draw(write, cr.tensor([1.0, 2.0, 3.0]), direction="TB")


class Refuses(cr.autograd.Function):
    """Forward works, backward does not."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, g):
        raise ArithmeticError("no gradient today")


def failure():
    """A backward pass that raises: how far it came."""
    return cr.draw(lambda x: Refuses.apply(x.sin()).exp() * 2, cr.tensor(1.0), direction="LR")


PICTURES = [
    chain_rule, multipliers, backward_pass, sigmoid_neuron, two_layers, digits_cnn, unrolled, folded, lstm_unrolled, lstm, residual, transformer, blocks,
    double_backward, vanishing, nan_hunt, memory, in_place, failure,
]  # fmt: skip


def main(names):
    """Draw those named, or all."""
    folder.mkdir(exist_ok=True)
    for picture in PICTURES:
        if not names or picture.__name__ in names:
            cr.manual_seed(0)
            picture().save(folder / f"{picture.__name__}.svg", animate=picture is backward_pass)


if __name__ == "__main__":
    main(sys.argv[1:])
