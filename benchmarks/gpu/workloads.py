"""Twenty workloads, from one operation to a training step of ResNet-50, each written once for chainrule and for PyTorch.

    @workload(1, "gelu, 2^28 float32")
    def gelu(w):
        ...
        return {"forward": Part(function, moved=bytes), ...}

`w` gives the library (`w.library`, `w.F`), sizes (`w.size(on a card, in a rehearsal)`) and the inputs, which lie in the same memory for
both libraries. A `Part` is what is timed, with the least it must do: bytes read and written once, floating point operations and the kind
of unit that does them. Time over that is what is lost. `whole`: also captured as a graph; a backward pass alone cannot be, since its
forward pass would have to be captured with it.
"""

import functools
from dataclasses import dataclass

import numpy as np

from .models import MODELS, augmented, training

WORKLOADS = {}


@dataclass(frozen=True)
class Part:
    """`run()` is timed. `moved` bytes and `flops` operations on units of `kind` ("bf16", "tf32", "fp32") are its floor."""

    run: object
    moved: float = 0
    flops: float = 0
    kind: str = "bf16"
    whole: bool = True


def workload(number, title, once=False):
    """Decorator: enter a function into the table. `once`: it has memory of its own, so that there is one set of inputs."""

    def enter(function):
        WORKLOADS[function.__name__] = function
        function.number, function.title, function.once = number, title, once
        return function

    return enter


class Inputs:
    """What a workload is given, for one library."""

    def __init__(self, place, library, kept, seed=0):
        self.place, self.library, self.F = place, library, library.nn.functional
        self.size, self.kept, self.seed = place.size, kept, seed
        self.device = place.device if library.__name__ != "torch" else place.peer
        self.networks = kept.setdefault("networks", {})

    def _tensor(self, name, make):
        if (name, self.seed) not in self.kept:
            self.kept[name, self.seed] = make()
        return self.place.of(self.library, self.kept[name, self.seed])

    def normal(self, name, *shape, dtype="float32"):
        """Normal numbers under a name."""
        import chainrule as cr

        seed = self.seed + len(name)
        return self._tensor(name, lambda: self.place.normal(*shape, dtype=getattr(cr, dtype), seed=seed))

    def array(self, name, make):
        """A Tensor with the values of an array that `make(rng)` gives."""
        return self._tensor(name, lambda: self.place.tensor(make(np.random.default_rng(self.seed))))

    def leaf(self, tensor):
        """The same memory, as what gradients are wanted of."""
        return tensor.detach().requires_grad_()

    def grad(self, y, leaves, g):
        """Gradients; the graph stays."""
        return self.library.autograd.grad(y, leaves, g, retain_graph=True)

    def network(self, name, size, memory_format=None):
        """A model on the device; both libraries' have the same weights."""
        network = MODELS[name].build(self.library, size)
        if name in self.networks:
            states = {
                key: self.place.of(self.library, one).clone() for key, one in self.networks[name].items()
            }
            network.load_state_dict(states)
        else:
            self.networks[name] = {
                key: self.place.tensor(one.detach().cpu().numpy().copy())
                for key, one in network.state_dict().items()
            }
        network = network.to(self.device)
        return network if memory_format is None else network.to(memory_format=memory_format)


def three(w, function, leaves, g, forward, backward, flops=(0, 0), kind="bf16"):
    """Forward alone, backward alone, and both, of `function(*leaves)`; bytes that forward and backward move."""
    leaves = [w.leaf(one) for one in leaves]
    plain = [one.detach() for one in leaves]
    y = function(*leaves)
    return {
        "forward": Part(lambda: function(*plain), forward, flops[0], kind),
        "backward": Part(lambda: w.grad(y, leaves, g), backward, flops[1], kind, whole=False),
        "both": Part(lambda: w.grad(function(*leaves), leaves, g), forward + backward, sum(flops), kind),
    }


# --- what memory bounds ---


@workload(1, "gelu, 2^28 float32")
def gelu(w):
    n = w.size(1 << 28, 1 << 10)
    return three(w, w.F.gelu, [w.normal("x", n)], w.normal("g", n), 8 * n, 12 * n)


@workload(2, "softmax, 32768 x 4096 float32")
def softmax(w):
    shape = w.size((32768, 4096), (8, 40))
    n = shape[0] * shape[1]
    function = lambda x: w.F.softmax(x, dim=1)
    return three(w, function, [w.normal("x", *shape)], w.normal("g", *shape), 8 * n, 12 * n)


@workload(3, "layer norm, 65536 x 4096 bfloat16")
def layer_norm(w):
    rows, width = w.size((65536, 4096), (8, 40))
    x, g = (w.normal(name, rows, width, dtype="bfloat16") for name in ("x", "g_"))
    scale, shift = (w.normal(name, width, dtype="bfloat16") for name in ("scale", "shift"))
    n = rows * width
    return three(w, lambda x, a, b: w.F.layer_norm(x, (width,), a, b), [x, scale, shift], g, 4 * n, 6 * n)


@workload(4, "cross-entropy, 16384 x 50304 bfloat16")
def cross_entropy(w):
    rows, classes = w.size((16384, 50304), (8, 50))
    x = w.leaf(w.normal("x", rows, classes, dtype="bfloat16"))
    y = w.array("y", lambda rng: rng.integers(0, classes, rows))
    plain, n = x.detach(), rows * classes
    g = w.library.ones((), dtype=x.dtype, device=x.device)
    return {
        "forward": Part(lambda: w.F.cross_entropy(plain, y), 2 * n),
        "both": Part(lambda: w.grad(w.F.cross_entropy(x, y), [x], g), 4 * n),
    }


@workload(5, "AdamW, 10^9 float32 parameters", once=True)
def adamw(w):
    count, each = w.size((60, 1 << 24), (3, 100))
    parameters = []
    for i in range(count):
        one = w.library.nn.Parameter(w.normal(f"p{i}", each))
        one.grad = w.normal(f"gradient {i}", each)
        parameters.append(one)
    fused = (
        {"fused": True, "capturable": True} if w.library.__name__ == "torch" and w.device == "cuda" else {}
    )
    optimizer = w.library.optim.AdamW(parameters, lr=1e-4, **fused)
    return {"step": Part(optimizer.step, 28 * count * each)}


@workload(6, "dropout, 2^28 bfloat16")
def dropout(w):
    n = w.size(1 << 28, 1 << 10)
    x, g = (w.normal(name, n, dtype="bfloat16") for name in ("x", "g_"))
    return three(w, lambda x: w.F.dropout(x, 0.1), [x], g, 4 * n, 4 * n)


@workload(14, "gradient of an embedding, 65536 x 1024 float32, 50304 rows")
def embedding(w):
    count, width, rows = w.size((65536, 1024, 50304), (16, 8, 20))
    index = w.array("index", lambda rng: rng.integers(0, rows, count))
    moved = 8 * count * width, 4 * count * width + 4 * rows * width
    return three(w, lambda table: w.F.embedding(index, table), [w.normal("table", rows, width)], w.normal("g", count, width), *moved)  # fmt: skip


# --- what arithmetic bounds ---


def precisely(w, level, function):
    """The function with float32 products computed as `level` says."""

    def run():
        before = w.library.get_float32_matmul_precision()
        w.library.set_float32_matmul_precision(level)
        try:
            return function()
        finally:
            w.library.set_float32_matmul_precision(before)

    return run


@workload(7, "product, 8192^3")
def product(w):
    n = w.size(8192, 48)
    a, b = w.normal("a", n, n), w.normal("b_", n, n)
    c, d = a.to(w.library.bfloat16), b.to(w.library.bfloat16)
    return {
        "bfloat16": Part(lambda: c @ d, 6 * n * n, 2 * n**3, "bf16"),
        "TF32": Part(precisely(w, "high", lambda: a @ b), 12 * n * n, 2 * n**3, "tf32"),
        "float32": Part(precisely(w, "highest", lambda: a @ b), 12 * n * n, 2 * n**3, "fp32"),
    }


@workload(8, "linear layer and GELU, 16384 x 4096 to 16384, bfloat16")
def linear_gelu(w):
    rows, n, m = w.size((16384, 4096, 16384), (16, 24, 32))
    x, weight, bias = (
        w.normal(name, *shape, dtype="bfloat16") / n**0.25
        for name, shape in (("x", (rows, n)), ("weight", (m, n)), ("bias", (m,)))
    )
    moved, flops = 2 * (rows * n + m * n + m + rows * m), 2 * rows * n * m
    function = lambda x, weight, bias: w.F.gelu(w.F.linear(x, weight, bias), approximate="tanh")
    g = w.normal("g", rows, m, dtype="bfloat16")
    return three(w, function, [x, weight, bias], g, moved, moved + 2 * rows * m, (flops, 2 * flops))


def convolution(w, batch, channels, side, out, kernel, stride=1):
    """fprop, dgrad and wgrad of a convolution of channels_last images in bfloat16."""
    padding, places = kernel // 2, side // stride
    x = w.normal("x", batch, channels, side, side, dtype="bfloat16")
    weight = w.normal("weight", out, channels, kernel, kernel, dtype="bfloat16")
    g = w.normal("g", batch, out, places, places, dtype="bfloat16")
    form = w.library.channels_last
    x, weight, g = (one.contiguous(memory_format=form) for one in (x, weight, g))
    function = lambda x, weight: w.F.conv2d(x, weight, None, stride, padding)
    image, filters = w.leaf(x), w.leaf(weight)
    y_of_image, y_of_filters = function(image, weight), function(x, filters)
    moved = 2 * (x.numel() + weight.numel() + g.numel())
    flops = 2 * batch * places**2 * out * channels * kernel**2
    return {
        "fprop": Part(lambda: function(x, weight), moved, flops),
        "dgrad": Part(lambda: w.grad(y_of_image, [image], g), moved, flops, whole=False),
        "wgrad": Part(lambda: w.grad(y_of_filters, [filters], g), moved, flops, whole=False),
        "all": Part(lambda: w.grad(function(image, filters), [image, filters], g), 3 * moved, 3 * flops),
    }


@workload(9, "convolution 3x3, 256 x 64 x 56 x 56 to 64, bfloat16")
def conv3x3(w):
    return convolution(w, *w.size((256, 64, 56, 64), (2, 4, 8, 4)), 3)


@workload(10, "convolution 3x3, 256 x 256 x 14 x 14 to 256, bfloat16")
def conv3x3_deep(w):
    return convolution(w, *w.size((256, 256, 14, 256), (2, 8, 4, 8)), 3)


@workload(11, "convolution 1x1, 256 x 256 x 56 x 56 to 64, bfloat16")
def conv1x1(w):
    return convolution(w, *w.size((256, 256, 56, 64), (2, 8, 4, 4)), 1)


@workload(12, "convolution 7x7 stride 2, 256 x 3 x 224 x 224 to 64, bfloat16")
def stem(w):
    return convolution(w, *w.size((256, 3, 224, 64), (2, 3, 16, 4)), 7, 2)


@workload(13, "causal attention, 8 x 16 x 4096 x 64 bfloat16")
def attention(w):
    shape = w.size((8, 16, 4096, 64), (1, 2, 8, 8))
    q, k, v, g = (w.normal(name, *shape, dtype="bfloat16") for name in ("q", "k_", "v__", "g___"))
    batch, heads, length, width = shape
    flops, moved = 2 * batch * heads * length**2 * width, 2 * batch * heads * length * width
    function = lambda q, k, v: w.F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return three(w, function, [q, k, v], g, 4 * moved, 8 * moved, (flops, 2.5 * flops))


# --- whole training steps ---


def steps(w, name, flops, kind="fp32", amp=None):
    """The training step of a model on one batch; `flops(size, parameters)` of forward and backward."""
    model, size = MODELS[name], w.size(MODELS[name].full, MODELS[name].small)
    form = w.library.channels_last if model.images else None
    network = w.network(name, size, form)
    inputs, targets = (w.array(part, lambda rng, k=k: model.batch(size, rng)[k]) for k, part in enumerate(("inputs", "targets")))  # fmt: skip
    inputs = inputs.contiguous(memory_format=form) if form else inputs
    step = training(w.library, model, network, w.device, amp)
    count = sum(one.numel() for one in network.parameters())
    run = lambda: step(inputs, targets)
    run.network, run.inputs, run.targets, run.model = network, inputs, targets, model
    return {"step": Part(run, 28 * count, flops(size, count), kind)}


@workload(15, "MLP 784-512-512-10, batch 128, float32, Adam", once=True)
def mlp(w):
    return steps(w, "mlp", lambda size, count: 6 * count * size.batch)


@workload(16, "LSTM 2 x 512, batch 64, 100 steps, float32, Adam", once=True)
def lstm(w):
    return steps(w, "lstm", lambda size, count: 6 * count * size.batch * size.steps)


@workload(16, "GRU 2 x 512, batch 64, 100 steps, float32, Adam", once=True)
def gru(w):
    return steps(w, "gru", lambda size, count: 6 * count * size.batch * size.steps)


@workload(17, "GPT-2 124M, 16 x 1024 tokens, bfloat16, AdamW", once=True)
def gpt(w):
    def flops(size, count):
        tokens = size.batch * size.length
        return tokens * (6 * (count - size.length * size.width) + 6 * size.layers * size.width * size.length)

    return steps(w, "gpt", flops, "bf16")


def macs_of_resnet(size):
    """Products and sums of the forward pass of an image."""
    side = size.pixels // 2
    total, side, channels = side**2 * size.width * 3 * 49, side // 2, size.width
    for stage, count in enumerate(size.blocks):
        width = size.width * 2**stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            out = side // stride
            total += side**2 * channels * width + out**2 * (9 * width**2 + 4 * width**2)
            total += out**2 * channels * 4 * width if stride > 1 or channels != 4 * width else 0
            side, channels = out, 4 * width
    return total


@workload(18, "ResNet-50, batch 256, bfloat16, channels_last, SGD", once=True)
def resnet(w):
    return steps(w, "resnet", lambda size, count: 6 * macs_of_resnet(size) * size.batch, "bf16")


def macs_of_cifar(size):
    total, channels, side = 0, 3, size.pixels
    for width in (size.width, 2 * size.width, 4 * size.width):
        total += side**2 * 9 * (channels * width + width * width)
        channels, side = width, side // 2
    return total


@workload(19, "CIFAR network, batch 512, TF32, augmented, copied from pinned memory", once=True)
def cifar(w):
    found = steps(w, "cifar", lambda size, count: 6 * macs_of_cifar(size) * size.batch, "tf32")
    step, size = found["step"], w.size(MODELS["cifar"].full, MODELS["cifar"].small)
    shape = size.batch, 3, size.pixels, size.pixels
    host = w.library.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype="uint8"))
    host = host.pin_memory() if w.place.full else host
    network, targets, model = step.run.network, step.run.targets, step.run.model
    train = training(w.library, model, network, w.device)

    def fed():
        images = augmented(w.library, host.to(w.device, non_blocking=True))
        return train(images.contiguous(memory_format=w.library.channels_last), targets)

    return found | {"step, fed": Part(fed, step.moved, step.flops, step.kind, whole=False)}


@workload(20, "1000 additions in a chain, 1000 elements each", once=True)
def chain(w):
    n, length = w.size((1000, 1000), (10, 20))
    x, g = w.normal("x", n), w.normal("g_", n)
    leaf = w.leaf(x)

    def run(start):
        y = start
        for _ in range(length):
            y = y + x
        return y

    return {
        "forward": Part(functools.partial(run, x)),
        "both": Part(lambda: w.grad(run(leaf), [leaf], g)),
    }
